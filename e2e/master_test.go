package e2e_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"fugue/e2e"
	"fugue/internal/loadtest"
	"fugue/internal/testworker"
)

// The sockets outlive the master: in systemd's hands, or in its fd store.
func TestRestartRefusesNobody(t *testing.T) {
	for _, c := range []struct{ name, tables string }{{"own", selfBound}, {"socket-units", ""}} {
		t.Run(c.name, func(t *testing.T) {
			e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
				p := newPool(t, sb, c.tables)
				if c.tables == "" {
					sb.Unit("web.socket", tcpSocket)
					sb.Unit("weblocal.socket", unixSocket)
					sb.Do("systemctl", "start", "web.socket", "weblocal.socket")
				}
				sb.Do("systemctl", "start", "web")
				load := p.loads()
				for range loadtest.Scale(20) {
					before := sb.MainPID("web")
					sb.Do("systemctl", "restart", "web")
					if after := sb.MainPID("web"); after.PID == before.PID {
						t.Errorf("the same master after a restart: %+v", after)
					}
					load.awaitMore(50)
				}
				load.stopWithoutLoss()
				p.four()
			})
		})
	}
}

// A killed worker costs the requests it had, and nobody else anything.
func TestKilledWorkersAreReplaced(t *testing.T) {
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		p := newPool(t, sb, selfBound)
		sb.Do("systemctl", "start", "web")
		load := p.loads()
		for i := range loadtest.Scale(100) {
			var workers []e2e.Process
			p.await("a worker", func() bool { workers = p.workers(); return len(workers) > 0 })
			sb.Kill(workers[i%len(workers)])
			load.awaitMore(30)
		}
		for _, l := range load {
			r := l.Stop()
			t.Log(r)
			if r.New.Refused > 0 || r.New.TimedOut > 0 {
				t.Errorf("refused %d, timed out %d", r.New.Refused, r.New.TimedOut)
			}
		}
	})
}

// A killed master: the successor has its sockets and its workers.
func TestKilledMasterIsSucceeded(t *testing.T) {
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		p := newPool(t, sb, selfBound)
		sb.Do("systemctl", "start", "web")
		load := p.loads()
		for i := range loadtest.Scale(20) {
			old, oldMaster := p.workers(), sb.MainPID("web")
			sb.Kill(oldMaster)
			sb.WaitGone(oldMaster)
			p.takenOver(old)
			if t.Failed() {
				t.Fatalf("in round %d", i)
			}
			p.answers()
		}
		load.stopWithoutLoss()
	})
}

// answers fails the test unless the control socket and readiness are as they
// should be.
func (p *pool) answers() {
	p.t.Helper()
	p.want("status", p.Do("fugue", "status", "web"), "4 of 4 workers ready")
	p.deploy("-version", "again")
	p.reload() // needs the control socket, and READY=1 through the inbox
	p.four()
}

// In a unit without sweep, stopped when its master was already dead, nobody
// ends the workers. The next start takes them over where systemd 252 has left the
// runtime directory; 257 removes it, and there they serve until the new ones do.
func TestStopInsideTheRestartDelay(t *testing.T) {
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		p := newPool(t, sb, selfBound)
		sb.Unit("web.service", strings.Replace(strings.Replace(service, "RestartSec=100ms", "RestartSec=1h", 1), "ExecStopPost=", "#", 1))
		sb.Do("systemctl", "start", "web")
		old := p.workers()
		sb.Kill(sb.MainPID("web"))
		sb.WaitShow("web", "SubState", "auto-restart")
		sb.Do("systemctl", "stop", "web")
		load := p.loads() // the old workers still serve
		sb.Do("systemctl", "start", "web")
		const takes, finds = "took over from a master that is gone", "of a predecessor; it may serve"
		e := sb.WaitJournal(func(e e2e.Entry) bool {
			return strings.Contains(e["MESSAGE"], takes) || strings.Contains(e["MESSAGE"], finds)
		}, "-u", "web")
		if strings.Contains(e["MESSAGE"], takes) {
			p.takenOver(old)
		} else {
			for _, w := range old {
				sb.WaitGone(w)
			}
			p.serves()
		}
		load.awaitMore(100)
		load.stopWithoutLoss()
		p.four()
	})
}

// A stop lets requests in flight finish, and then refuses.
func TestStopFinishesWhatIsInFlight(t *testing.T) {
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		p := newPool(t, sb, selfBound)
		sb.Do("systemctl", "start", "web")
		slow := sb.Load(loadtest.Config{Address: "127.0.0.1:8080", Paths: []string{"/slow?ms=2000"}, Rate: 50, Max: 50})
		sb.Do("systemctl", "stop", "web")
		r := slow.Stop()
		t.Log(r)
		if r.New.Reset+r.New.EOF+r.New.TimedOut > 0 || r.New.OK == 0 {
			t.Error("requests in flight were cut")
		}
		if left := sb.Processes("web"); len(left) != 0 {
			t.Errorf("left after the stop: %+v", left)
		}
		if _, err := sb.Dial("tcp", "127.0.0.1:8080"); err == nil {
			t.Error("a stopped pool still connects")
		}
		if out := sb.Exec("ls", "/t/web.sock"); out.Code == 0 {
			t.Error("the unix path is left behind")
		}
		p.want("status", sb.Exec("fugue", "status", "web").String(), "not running")
	})
}

// daemon-reload and daemon-reexec turn the order of stored fds around; no
// worker may notice.
func TestTheOrderOfSocketsNeverChanges(t *testing.T) {
	const three = selfBound + "[listen.admin]\nstream = \"127.0.0.1:8081\"\n"
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		p := newPool(t, sb, three)
		sb.Do("systemctl", "start", "web")
		load := p.loads()
		before := p.sockets()
		for i := range loadtest.Scale(20) {
			if i%2 == 0 {
				sb.DaemonReload()
			} else {
				sb.DaemonReexec()
			}
			p.reload()
			if i%2 == 1 {
				sb.Do("systemctl", "restart", "web")
			} else {
				sb.Kill(sb.MainPID("web"))
				sb.WaitMessage("generation 1 serves", "-u", "web")
			}
			sb.WaitState("web", "running")
			if now := p.sockets(); now != before {
				t.Errorf("sockets of a worker before:\n%s\nand now:\n%s", before, now)
			}
			p.answers()
		}
		load.stopWithoutLoss()
	})
}

// sockets are the listening fds of one worker: number, socket and name.
func (p *pool) sockets() string {
	p.t.Helper()
	var env testworker.Environment
	if err := json.Unmarshal([]byte(p.Get("http://127.0.0.1:8080/env").Body), &env); err != nil {
		p.t.Fatal(err)
	}
	list := fmt.Sprintf("3 %s\n4 %s\n5 %s\n", env.FDs[3], env.FDs[4], env.FDs[5])
	for _, variable := range env.Env {
		if strings.HasPrefix(variable, "LISTEN_FD") {
			list += variable + "\n"
		}
	}
	p.want("the environment of a worker", list, "LISTEN_FDS=3", "LISTEN_FDNAMES=http:local:admin", "socket:[")
	return list
}
