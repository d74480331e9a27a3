package e2e_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"fugue/e2e"
	"fugue/internal/loadtest"
)

// The app of the restarts that are measured takes its time to start, and all
// its workers start at once: a rollout is over when a window is half over.
const slowApp = `[restart]
min_uptime = "100ms"
[reload]
max_surge = "100%"
canary = 4
`

// Promise 1: `systemctl restart` loses no connection, and nobody waits for it.
// Windows of equal length with and without one take turns, so that whatever
// else the machine does falls on both.
func TestRestartWithoutAPause(t *testing.T) {
	const (
		rate   = 150
		window = 5 * rate / 2 // requests
	)
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		p := newPool(t, sb, selfBound+slowApp)
		sb.Do("systemctl", "start", "web")
		slow := p.slowly()
		var calm, restarted []time.Duration
		measure := func(during func()) time.Duration {
			load := sb.Load(loadtest.Config{Address: "127.0.0.1:8080", Rate: rate, Max: window})
			during()
			_ = load.Await(t.Context(), func(*loadtest.Report) bool { return false }) // until it has ended by itself
			r := load.Stop()
			if err := r.Check(); err != nil {
				t.Error(err)
			}
			return r.Latency(1)
		}
		version := ""
		pair := func(i int) {
			version = fmt.Sprintf("v%d", i+2)
			calm = append(calm, measure(func() {}))
			restarted = append(restarted, measure(func() {
				p.deploy("-version", version, "-start-delay", "1500ms")
				if r := sb.Systemctl("restart", "web"); r.Code != 0 || r.Took < 1500*time.Millisecond {
					t.Errorf("the restart must end when the new version is up: %v", r)
				}
				slow.AwaitVersion(version)
			}))
		}
		// What else the machine does may be in the way of most of a few windows, and
		// then is not in that of most of many; a pause is in each.
		n := loadtest.Scale(50)
		for i := range 4 * n {
			if pair(i); (i+1)%n == 0 && median(restarted)-median(calm) <= 100*time.Millisecond {
				break
			}
		}
		slow.StopWithoutLoss()
		a, b := median(calm), median(restarted)
		t.Logf("slowest request of a window, median of %d: %v without a restart, %v with one; all: %v, %v", len(calm), a, b, calm, restarted)
		if b-a > 100*time.Millisecond {
			t.Errorf("a restart costs the slowest request %v", b-a)
		}
		p.onlyServing(version, 30*time.Second)
	})
}

func median[T cmp.Ordered](list []T) T { return slices.Sorted(slices.Values(list))[len(list)/2] }

// A successor that does not come up at the first attempts: systemd tries again,
// and the workers serve meanwhile.
func TestSuccessorThatFailsThreeTimes(t *testing.T) {
	for name, broken := range map[string]bool{"exec-start-pre": false, "broken-binary": true} {
		t.Run(name, func(t *testing.T) {
			e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
				p := newQuick(t, sb, "RestartSec=50ms", "ExecStartPre=/bin/sh -c 'test ! -e /t/fail || test $$(wc -l < /t/fail) -gt 3 || { echo >> /t/fail; exit 1; }'")
				load := p.loads()
				slow := p.slowly()
				slow.AwaitMore(5)
				if broken {
					sb.Install("/bin/false", "/usr/bin/fugue")
				} else {
					sb.File("/t/fail", "\n")
				}
				p.deploy("-version", "v2")
				if r := sb.Systemctl("restart", "web"); r.Code == 0 {
					t.Errorf("the first attempt fails, and so does the restart: %v", r)
				}
				sb.WaitShowAs("web", "NRestarts", atLeast(3))
				if broken {
					sb.Install(e2e.Fugue(t), "/usr/bin/fugue")
				}
				load.awaitVersion("v2")
				p.settled("running")
				load.stopWithoutLoss()
				slow.StopWithoutLoss()
				p.onlyServing("v2", 5*time.Second)
			})
		})
	}
}

// newQuick is newChanged with rollouts that take half a second.
func newQuick(t *testing.T, sb *e2e.Sandbox, changes ...string) *pool {
	p := newPool(t, sb, quick)
	p.install(service, changes...)
	sb.Do("systemctl", "start", "web")
	return p
}

// A master that is killed while it leaves: whatever it had come to, nobody is
// refused, and there is one pool in the end.
func TestKilledWhileLeaving(t *testing.T) {
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		p := newQuick(t, sb)
		load := p.loads()
		slow := p.slowly()
		for i := range loadtest.Scale(50) {
			p.deploy("-version", fmt.Sprintf("v%d", i+2))
			main := sb.MainPID("web")
			sb.Do("systemctl", "restart", "--no-block", "web")
			<-time.After(time.Duration(i%10) * time.Millisecond) // any instant on its way
			if strings.Contains(process(sb, main.PID), "fugue") {
				sb.Exec("kill", "-9", fmt.Sprint(main.PID))
			}
			sb.WaitGone(main)
			p.settled("running")
			p.oneASlot()
		}
		p.deploy("-version", "last")
		p.reload()
		load.awaitVersion("last")
		load.stopWithoutLoss()
		slow.StopWithoutLoss()
		p.onlyServing("last", 5*time.Second)
	})
}

// process is the name of one inside, "" if there is none.
func process(sb *e2e.Sandbox, pid int) string { return sb.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)) }

// A stop that comes while the successor starts its workers ends those of both.
func TestStopWhileTheSuccessorWaits(t *testing.T) {
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		p := newQuick(t, sb)
		old := p.workers()
		p.deploy("-version", "v2", "-start-delay", "1h")
		sb.Do("systemctl", "restart", "--no-block", "web")
		sb.WaitMessage("rolling from generation 1 to 2", "-u", "web")
		sb.WaitMessage("of generation 2 started", "-u", "web")
		slow, both := p.inFlight(1000), p.workers()
		if len(both) <= len(old) {
			t.Errorf("workers: %+v", both)
		}
		sb.Do("systemctl", "stop", "web")
		slow.StopWithoutLoss()
		p.deploy("-version", "v3")
		p.nothingServes(both)
	})
}
