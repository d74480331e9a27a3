package e2e_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"fugue/e2e"
	"fugue/internal/loadtest"
)

// parent is what a pool can be bound to.
const parent = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n"

// Whatever brings another master leaves the workers to it: nobody is refused,
// and the new master serves what the file says.
func TestWhatLeavesTheWorkers(t *testing.T) {
	do := func(commands ...string) func(*pool) {
		return func(p *pool) {
			for _, c := range commands {
				p.Do(strings.Fields(c)...)
			}
		}
	}
	noReload := []string{"ExecReload="}
	cases := []struct {
		name    string
		changes []string // of the unit
		fresh   bool     // they count for a master that is started with them
		act     func(*pool)
	}{
		{"restart", nil, false, do("systemctl restart web")},
		{"try-restart", nil, false, do("systemctl try-restart web")},
		{"reload-or-restart", noReload, false, do("systemctl reload-or-restart web")},
		{"try-reload-or-restart", noReload, false, do("systemctl try-reload-or-restart web")},
		{"restart-then-start", nil, false, do("systemctl restart --no-block web", "systemctl start web")},
		{"kill", nil, false, do("systemctl kill --kill-whom=main web")},
		{"PartOf", []string{"PartOf=parent.service"}, false, do("systemctl restart parent")},
		{"BindsTo", []string{"BindsTo=parent.service", "After=parent.service"}, false, do("systemctl restart parent")},
		{"WatchdogSignal", []string{"WatchdogSec=3s", "WatchdogSignal=SIGTERM"}, true, func(p *pool) { p.Signal(p.MainPID("web"), unix.SIGSTOP) }},
		{"reload-and-reexec-of-systemd", nil, false, func(p *pool) {
			p.Do("systemctl", "restart", "--no-block", "web")
			p.DaemonReload()
			p.DaemonReexec()
			p.DaemonReload()
		}},
		{"RuntimeMaxSec", []string{"RuntimeMaxSec=3s"}, true, func(*pool) {}}, // it comes by itself
	}
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		sb.Unit("parent.service", parent)
		sb.Do("systemctl", "start", "parent")
		p := newQuick(t, sb)
		load, slow := p.loads(), p.slowly()
		for i, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				p.t = t
				p.install(service, c.changes...)
				if c.fresh {
					sb.Do("systemctl", "restart", "web")
				}
				main := sb.MainPID("web")
				version := fmt.Sprintf("v%d", i+2)
				p.deploy("-version", version)
				c.act(p)
				sb.WaitGone(main)
				if c.fresh {
					p.install(service) // or it comes again, while that is looked at
				}
				load.awaitVersion(version)
				slow.AwaitMore(5)
				// With workers that start this quickly a pause would cost nobody a connection.
				p.want("journal", sb.Journal("-u", "web", "_PID="+pid(main)), "workers and sockets are left to the next master")
				p.settled("running")
				p.oneASlot()
			})
		}
		p.t = t
		load.stopWithoutLoss()
		slow.StopWithoutLoss()
	})
}

// Whatever ends the unit ends the workers, once their requests are answered;
// and then nothing serves.
func TestWhatEndsTheWorkers(t *testing.T) {
	cases := []struct {
		name    string
		changes []string
		before  string // a job that the stop finds
		stop    string
	}{
		{"stop", nil, "", "systemctl stop web"},
		{"restart-then-stop", nil, "systemctl restart --no-block web", "systemctl stop web"},
		{"PartOf", []string{"PartOf=parent.service"}, "", "systemctl stop parent"},
		{"BindsTo", []string{"BindsTo=parent.service", "After=parent.service"}, "", "systemctl stop parent"},
		{"BindsTo-dies", []string{"BindsTo=parent.service", "After=parent.service"}, "", "systemctl kill --signal=KILL parent"},
		{"isolate", nil, "", "systemctl isolate other.target"},
	}
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		sb.Unit("parent.service", "[Service]\nExecStart=/bin/sleep 1000\n")
		sb.Unit("other.target", "[Unit]\nRequires=basic.target\nAllowIsolate=yes\n")
		sb.Do("systemctl", "start", "parent")
		p := newQuick(t, sb)
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				p.t = t
				p.install(service, c.changes...)
				old, slow := p.workers(), p.inFlight(700)
				if c.before != "" {
					sb.Do(strings.Fields(c.before)...)
				}
				sb.Do(strings.Fields(c.stop)...)
				sb.WaitState("web", "inactive", "failed")
				slow.StopWithoutLoss()
				sb.Do("systemctl", "start", "parent")
				p.nothingServes(old)
			})
		}
	}, e2e.WithDBus())
}

// inFlight returns when requests are in flight that take so many milliseconds
// each, and no more come.
func (p *pool) inFlight(ms int) *e2e.Load {
	p.t.Helper()
	const requests = 40
	paths := slices.Repeat([]string{fmt.Sprintf("/slow?ms=%d", ms)}, requests)
	paths[0], paths[requests-1] = "/", "/" // the last is asked, and answered at once, when all others are under way
	load := p.Load(loadtest.Config{Address: "127.0.0.1:8080", Paths: paths, Rate: 200, Max: requests})
	err := load.Await(p.t.Context(), func(r *loadtest.Report) bool { return r.New.Sent >= 2 })
	if err != nil {
		p.t.Fatal(err)
	}
	// On a busy machine the last may have overtaken others that do not have their
	// connection yet.
	p.await("all requests to be under way", func() bool {
		ended := 0
		err := load.Await(p.t.Context(), func(r *loadtest.Report) bool { ended = r.New.Sent; return true })
		return err != nil /* even answered */ || ended+p.connected("1F90") >= requests
	})
	return load
}

// connected is the number of connections that a port inside, in hexadecimal, has.
func (p *pool) connected(port string) (n int) {
	p.t.Helper()
	table, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp", p.PID()))
	if err != nil {
		p.t.Fatal(err)
	}
	for line := range strings.Lines(string(table)) { // sl local_address rem_address st …
		if f := strings.Fields(line); len(f) > 3 && strings.HasSuffix(f[1], ":"+port) && f[3] == "01" {
			n++
		}
	}
	return n
}

// A start that replaces a stop: the old workers end, new ones come.
func TestStopThenStart(t *testing.T) {
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		p := newQuick(t, sb)
		slow := p.inFlight(1000)
		old := p.workers()
		p.deploy("-version", "v2")
		sb.Do("systemctl", "stop", "--no-block", "web")
		sb.WaitState("web", "deactivating", "inactive") // a stop that has not begun would be forgotten
		sb.Do("systemctl", "start", "web")
		for _, w := range old {
			sb.WaitGone(w)
		}
		slow.StopWithoutLoss()
		p.settled("running")
		p.onlyServing("v2", 0)
		p.serves()
	})
}

// systemd reloads and executes itself anew while the pool is being stopped.
func TestReexecWhileStopping(t *testing.T) {
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		p := newQuick(t, sb)
		old := p.workers()
		slow := p.inFlight(2500)
		sb.Do("systemctl", "stop", "--no-block", "web")
		sb.DaemonReload()
		sb.DaemonReexec()
		sb.DaemonReload()
		sb.WaitState("web", "inactive", "failed")
		slow.StopWithoutLoss()
		p.nothingServes(old)
	})
}

// A watchdog that bites kills the master, and takes nothing from the workers.
func TestWatchdogKillsTheMaster(t *testing.T) {
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		p := newQuick(t, sb, "WatchdogSec=3s")
		load, old, main := p.loads(), p.workers(), sb.MainPID("web")
		p.deploy("-version", "v2")
		sb.Signal(main, unix.SIGSTOP)
		sb.WaitGone(main)
		p.serveAs(p.settled("running"), 1, "v1")
		load.awaitMore(50)
		load.stopWithoutLoss()
		for _, w := range old {
			if !p.lives(w) {
				t.Errorf("%+v did not survive its master", w)
			}
		}
	})
}

// The end of the manager ends the workers in order.
func TestExitLetsRequestsFinish(t *testing.T) {
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		p := newQuick(t, sb)
		slow := p.inFlight(1500)
		sb.Systemctl("exit") // its own connection may break
		slow.StopWithoutLoss()
	})
}

// Stops that no ExecStopPost= sees, when the master has left its workers.
func TestStopsBetweenTwoMasters(t *testing.T) {
	leave := func(p *pool) []e2e.Process {
		old, main := p.workers(), p.MainPID("web")
		p.Do("systemctl", "kill", "--kill-whom=main", "web")
		p.WaitGone(main)
		return old
	}
	t.Run("in-the-restart-delay", func(t *testing.T) {
		e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
			p := newQuick(t, sb, "RestartSec=1h")
			load := p.loads()
			old := leave(p)
			sb.WaitShow("web", "SubState", "auto-restart")
			load.awaitMore(50)
			load.stopWithoutLoss()
			sb.Do("systemctl", "stop", "web")
			p.nothingServes(old)
		})
	})
	t.Run("at-the-start-limit", func(t *testing.T) {
		e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
			p := newQuick(t, sb, "StartLimitIntervalSec=1h", "StartLimitBurst=1")
			old := leave(p)
			sb.WaitState("web", "failed")
			sb.Do("systemctl", "reset-failed", "web")
			p.nothingServes(old)
		})
	})
	t.Run("in-the-restart-of-a-dependency", func(t *testing.T) {
		e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
			sb.Unit("dep.service", dependency)
			p := newQuick(t, sb, "Requires=dep.service", "After=dep.service")
			load := p.loads()
			p.deploy("-version", "v2")
			sb.Do("systemctl", "restart", "--no-block", "dep")
			sb.WaitState("web", "inactive")
			sb.WaitState("dep", "start")
			load.awaitMore(150) // the caretaker sees a job that waits
			sb.Do("sh", "-c", "echo go > /t/gate")
			load.awaitVersion("v2")
			load.stopWithoutLoss()
			p.settled("running")

			old := p.workers()
			sb.Do("systemctl", "restart", "--no-block", "dep")
			sb.WaitState("web", "inactive")
			sb.WaitState("dep", "start")
			sb.Do("systemctl", "stop", "web")
			for _, w := range old {
				sb.WaitGone(w)
			}
			sb.Do("sh", "-c", "echo go > /t/gate")
			sb.WaitState("dep", "exited")
			p.nothingServes(old)
		}, e2e.WithDBus())
	})
}
