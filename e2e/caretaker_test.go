package e2e_test

import (
	"strconv"
	"strings"
	"testing"

	"fugue/e2e"
)

// crash kills the master and returns the workers that it left, when the unit
// waits to start the next one.
func (p *pool) crash() []e2e.Process {
	p.t.Helper()
	old := p.workers()
	p.Kill(p.MainPID("web"))
	p.WaitShow("web", "SubState", "auto-restart")
	if left := p.workers(); len(left) < len(old) {
		p.t.Errorf("of the workers %+v only %+v were left to the next master", old, left)
	}
	return old
}

// A stop between two masters runs no ExecStopPost=.
func TestStopInTheRestartDelay(t *testing.T) {
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		p := newChanged(t, sb, "RestartSec=1h")
		old := p.crash()
		load := p.loads()
		load.awaitMore(50) // they serve on meanwhile
		load.stopWithoutLoss()
		sb.Do("systemctl", "stop", "web")
		p.nothingServes(old)
	})
}

// A caretaker goes by itself as soon as there is a master again, not when that
// one is ready and ends what it found.
func TestCaretakerGoesWhenAMasterComes(t *testing.T) {
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		p := newChanged(t, sb)
		p.deploy("-start-delay", "3s")
		sb.Do("systemctl", "restart", "--no-block", "web") // ready when the new release is
		sb.WaitState("web", "start")
		for _, c := range p.caretakers() {
			sb.WaitGone(c)
		}
		if state := sb.Show("web", "SubState"); state != "start" {
			t.Errorf("the unit is %s: the caretaker stayed until the pool was ready", state)
		}
		p.serves()
	})
}

// A systemd that executes itself anew drops the connections of who listens.
func TestCaretakerOutlastsAReexec(t *testing.T) {
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		p := newChanged(t, sb, "RestartSec=1h")
		old := p.crash()
		sb.DaemonReexec()
		sb.DaemonReload()
		sb.Do("systemctl", "stop", "web")
		p.nothingServes(old)
	})
}

// The last attempt that the start limit allows has failed.
func TestStartLimit(t *testing.T) {
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		p := newChanged(t, sb, "StartLimitIntervalSec=1h", "StartLimitBurst=1")
		old := p.workers()
		sb.Kill(sb.MainPID("web"))
		sb.WaitState("web", "failed")
		sb.Do("systemctl", "reset-failed", "web")
		p.nothingServes(old)
	})
}

// Without Restart= nobody comes after a master that dies.
func TestCrashWithoutRestart(t *testing.T) {
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		p := newChanged(t, sb, "Restart=no")
		old := p.workers()
		sb.Kill(sb.MainPID("web"))
		p.nothingServes(old)
	})
}

// A unit without a file is at rest as well.
func TestUnitThatIsGone(t *testing.T) {
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		p := newChanged(t, sb, "RestartSec=1h")
		old := p.crash()
		sb.Do("rm", "/u/web.service")
		sb.DaemonReload()
		sb.Do("systemctl", "stop", "web")
		for _, w := range old {
			sb.WaitGone(w)
		}
		p.install(service)
		sb.DaemonReload()
		p.nothingServes(old)
	})
}

// dependency is a service whose second start waits for a line in a FIFO.
const dependency = `[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'if [ -e /t/gate ]; then read line < /t/gate; else mkfifo /t/gate; fi'
`

// While a dependency restarts, the unit is inactive with a job that waits: the
// workers serve, and are there for the next master. If the unit is stopped
// there, they go.
func TestRestartOfADependency(t *testing.T) {
	for _, stopped := range []bool{false, true} {
		name := map[bool]string{false: "goes-on", true: "then-stop"}[stopped]
		t.Run(name, func(t *testing.T) {
			e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
				sb.Unit("dep.service", dependency)
				p := newChanged(t, sb, "Requires=dep.service", "After=dep.service")
				load := p.loads()
				old, main := p.workers(), p.freeze()
				sb.Do("systemctl", "restart", "--no-block", "dep")
				sb.WaitState("web", "stop-sigterm")
				sb.Kill(main)
				sb.WaitState("web", "inactive", "failed")
				sb.WaitState("dep", "start")
				load.awaitMore(150) // 1.5 s: a caretaker that were wrong would need 0.3 s
				for _, w := range old {
					if !p.lives(w) {
						t.Errorf("%+v did not survive the wait for the dependency", w)
					}
				}
				if stopped {
					for _, l := range load {
						l.StopWithoutLoss()
					}
					sb.Do("systemctl", "stop", "web")
					for _, w := range old {
						sb.WaitGone(w)
					}
				}
				sb.Do("sh", "-c", "echo go > /t/gate")
				sb.WaitState("dep", "exited")
				if stopped {
					p.nothingServes(old)
					return
				}
				p.takenOver(old)
				load.stopWithoutLoss()
			}, e2e.WithDBus()) // systemctl clean asks on the bus
		})
	}
}

// lives reports whether a process is still in the unit. An inactive unit tells
// no cgroup, but it has one as long as something is in it.
func (p *pool) lives(w e2e.Process) bool {
	p.t.Helper()
	out := p.Exec("sh", "-c", "cat /sys/fs/cgroup/system.slice/web.service/cgroup.procs").Out
	for pid := range strings.FieldsSeq(out) {
		if pid == strconv.Itoa(w.PID) {
			return true
		}
	}
	return false
}
