package e2e_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"fugue/e2e"
	"fugue/internal/handover"
	"fugue/internal/loadtest"
)

// quick makes rollouts of four workers take half a second, so that many fit
// into a test and an instant is easily in the middle of one.
const quick = selfBound + "[restart]\nmin_uptime = \"100ms\"\n[stop]\ntimeout = \"5s\"\n"

// slowly are the requests that are in flight whatever happens.
func (p *pool) slowly() *e2e.Load {
	p.t.Helper()
	return p.Load(loadtest.Config{
		Address: "127.0.0.1:8080", Rate: 20,
		Paths: []string{"/slow?ms=300", "/slow?ms=1500", "/slow?ms=600", "/slow?ms=1000"}, For: longest,
	})
}

// written is the part of what a master wrote down that says how its rollout is
// to end.
type written struct {
	Current  int
	From, To int // of the rollout; 0: there is none
	Phase    string
	Old, New int // workers that were not told to stop, ready ones
}

// read is what the last master left to the next.
func (p *pool) read() (w written) {
	p.t.Helper()
	slots, err := handover.Open(p.Path("/run/fugue/web/state"))
	if err != nil {
		p.t.Fatal(err)
	}
	defer slots.Close()
	b, err := slots.Read()
	if err != nil {
		p.t.Fatal(err)
	}
	type worker struct {
		ID, Generation int
		State          string
	}
	workers := map[int]worker{}
	for line := range strings.Lines(string(b)) { // a later one takes the place of an earlier
		var r struct {
			Master *struct {
				Current int
				Rollout *struct {
					To    int
					Phase string
				}
			}
			Worker *worker
			Gone   *struct {
				Part   string
				Number int
			}
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			p.t.Fatal(err)
		}
		switch {
		case r.Master != nil:
			w.Current, w.From, w.To, w.Phase = r.Master.Current, 0, 0, ""
			if r.Master.Rollout != nil {
				w.From, w.To, w.Phase = w.Current, r.Master.Rollout.To, r.Master.Rollout.Phase
			}
		case r.Worker != nil:
			workers[r.Worker.ID] = *r.Worker
		case r.Gone != nil && r.Gone.Part == "worker":
			delete(workers, r.Gone.Number)
		}
	}
	for _, one := range workers {
		switch {
		case one.Generation != w.To && one.State != "stopping":
			w.Old++
		case one.State == "ready" || one.State == "available":
			w.New++
		}
	}
	return w
}

// outcome is the generation that must serve in the end: a rollout goes back
// unless every old worker has been told to stop.
func (w written) outcome() int {
	if w.To > 0 && w.Old == 0 && w.New > 0 {
		return w.To
	}
	return w.Current
}

// Promise 4: a master that dies, at whatever instant, is taken over from.
// Nobody is refused, requests in flight in the workers finish, no worker is
// there twice or left behind, and a rollout under way goes back.
func TestKilledMasters(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		random := rand.New(rand.NewPCG(seed, uint64(sb.SystemdVersion())))
		p := newPool(t, sb, quick)
		sb.Do("systemctl", "start", "web")
		load := append(p.loads(), p.slowly())
		versions := map[int]string{1: "v1"} // by generation
		serves, inside, forward := 1, 0, 0
		for i := range loadtest.Scale(200) {
			reloaded := make(chan e2e.Result, 1)
			rolling := i%2 == 0
			version := fmt.Sprintf("v%d", i+2)
			if rolling {
				p.deploy("-version", version, "-start-delay", "100ms")
				go func() {
					defer close(reloaded)
					reloaded <- sb.Systemctl("reload", "web")
				}()
				sb.WaitShowAs("web", "StatusText", func(now string) bool {
					return strings.Contains(now, "to generation") || len(reloaded) > 0 // it was too fast to be seen
				})
			}
			// Not an event but any instant is what is wanted.
			<-time.After(time.Duration(random.Int64N(int64(500 * time.Millisecond))))
			p.oneASlot()
			sb.Kill(sb.MainPID("web"))
			left := p.read()
			if left.To > 0 {
				inside++
			}
			if rolling {
				<-reloaded
			}
			if twice := random.IntN(4) == 0; twice { // and the one that comes, in the middle of it
				sb.WaitState("web", "running", "start")
				if main := sb.ShowInt("web", "MainPID"); main > 0 {
					<-time.After(time.Duration(random.Int64N(int64(20 * time.Millisecond))))
					left = p.killAgain()
				}
			}
			p.oneASlot()
			status := p.settled("running")
			if left.To > serves {
				versions[left.To] = version
			}
			if left.Current > serves {
				versions[left.Current] = version
			}
			if left.outcome() != serves {
				forward++
			}
			serves = left.outcome()
			p.serveAs(status, serves, versions[serves])
			if t.Failed() {
				t.Fatalf("round %d, generations %v, written down at the kill: %+v", i, versions, left)
			}
		}
		t.Logf("%d kills inside a rollout; %d generations came to serve", inside, forward)
		p.deploy("-version", "last")
		p.reload()
		load.awaitVersion("last")
		load.stopWithoutLoss()
		p.onlyServing("last", 5*time.Second)
	})
}

// killAgain ends a master that has just come up, and tells what it wrote down.
func (p *pool) killAgain() written {
	p.t.Helper()
	p.Kill(p.MainPID("web"))
	return p.read()
}

// onlyServing fails the test unless, after the time that a stop may take, four
// workers of this version are all that there is.
func (p *pool) onlyServing(version string, timeout time.Duration) {
	p.t.Helper()
	list := p.oneASlot()
	late := time.Now().Add(timeout + time.Second)
	for _, l := range list {
		if l.version != version {
			p.WaitGone(l.Process)
		}
	}
	if time.Now().After(late) {
		p.t.Errorf("workers were left behind for longer than %v", timeout)
	}
	for _, c := range p.caretakers() {
		p.WaitGone(c)
	}
	p.four()
}
