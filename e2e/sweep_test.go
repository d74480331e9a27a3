package e2e_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"fugue/e2e"
)

// newChanged is a pool whose unit has these changes, "KEY=VALUE" for what it has
// and for what it has not; it is started.
func newChanged(t *testing.T, sb *e2e.Sandbox, changes ...string) *pool {
	p := newPool(t, sb, selfBound)
	p.install(service, changes...)
	sb.Do("systemctl", "start", "web")
	return p
}

// install writes the unit with changes.
func (p *pool) install(unit string, changes ...string) {
	p.t.Helper()
	for _, change := range changes {
		key, _, _ := strings.Cut(change, "=")
		var lines []string
		for line := range strings.Lines(unit) {
			if !strings.HasPrefix(line, key+"=") {
				lines = append(lines, line)
			}
			if section := strings.TrimSpace(line); section == sectionOf(key) {
				lines = append(lines, change+"\n")
			}
		}
		unit = strings.Join(lines, "")
	}
	p.Unit("web.service", unit)
}

func sectionOf(key string) string {
	switch {
	case strings.HasPrefix(key, "StartLimit"), slices.Contains([]string{"Requires", "After", "PartOf", "BindsTo"}, key):
		return "[Unit]"
	}
	return "[Service]"
}

// freeze holds the master still: what systemd asks of it does not happen, and
// its end can be put where a test wants it. SIGSTOP would not do, systemd sends
// SIGCONT with its signals; so the master gets a part of the unit's cgroup to
// itself, and that is frozen. It still dies of SIGKILL.
func (p *pool) freeze() e2e.Process {
	p.t.Helper()
	main := p.MainPID("web")
	part := filepath.Join(p.Cgroup(), p.Show("web", "ControlGroup"), "frozen")
	err := errors.Join(
		os.Mkdir(part, 0o755),
		os.WriteFile(filepath.Join(part, "cgroup.procs"), []byte(strconv.Itoa(main.Outside)), 0),
		os.WriteFile(filepath.Join(part, "cgroup.freeze"), []byte("1"), 0),
	)
	if err != nil {
		p.t.Fatal(err)
	}
	return main
}

// caretakers are those in the unit.
func (p *pool) caretakers() (list []e2e.Process) {
	p.t.Helper()
	for _, process := range p.Processes("web") {
		if isCaretaker(process) {
			list = append(list, process)
		}
	}
	return list
}

func isCaretaker(p e2e.Process) bool { return strings.Contains(p.Command, "--caretaker") }

// nothingServes fails the test unless all those have ended, their address is
// free and the unit empty; and then the next start must serve.
func (p *pool) nothingServes(old []e2e.Process) {
	p.t.Helper()
	for _, w := range old {
		p.WaitGone(w)
	}
	for _, c := range p.caretakers() {
		p.WaitGone(c)
	}
	if left := p.Processes("web"); len(left) > 0 {
		p.t.Errorf("left in the unit: %+v", left)
	}
	if p.ShowInt("web", "NFileDescriptorStore") > 0 {
		// A stop that cancels a waiting start leaves systemd 257 with the fd
		// store, and so with sockets that connect and are nobody's.
		p.Do("systemctl", "reset-failed", "web")
		p.Do("systemctl", "clean", "--what=fdstore", "web")
	}
	if c, err := p.Dial("tcp", "127.0.0.1:8080"); err == nil {
		c.Close()
		p.t.Error("it still connects")
	}
	// A unit that is down does not tell of a caretaker that is on its way out.
	p.await("the caretaker's file to go", func() bool {
		return p.Exec("sh", "-c", "ls /run/fugue-caretaker.* 2>/dev/null").Out == ""
	})
	p.Do("systemctl", "start", "web")
	p.serves()
}

// takenOver waits until the pool serves again and checks that it does with the
// workers that it had.
func (p *pool) takenOver(old []e2e.Process) {
	p.t.Helper()
	p.serves()
	now := p.workers()
	for _, w := range old {
		if !slices.Contains(now, w) {
			p.t.Errorf("%+v is not among the workers %+v", w, now)
		}
	}
	if len(now) != len(old) {
		p.t.Errorf("the workers were %+v and are %+v", old, now)
	}
}

// serves fails the test unless the pool is up, and only it.
func (p *pool) serves() {
	p.t.Helper()
	p.WaitState("web", "running")
	p.want("status", p.Do("fugue", "status", "web"), "4 of 4 workers ready")
	if got := p.Get("http://127.0.0.1:8080/"); got.Status != 200 {
		p.t.Errorf("the pool answers %+v", got)
	}
	for _, c := range p.caretakers() {
		p.WaitGone(c)
	}
	p.four()
}

// A master that dies while the unit is being stopped leaves its workers to
// sweep, whatever was asked before the stop.
func TestSweepAtAStop(t *testing.T) {
	for name, before := range map[string][]string{
		"stop":              nil,
		"restart-then-stop": {"restart", "--no-block", "web"},
	} {
		t.Run(name, func(t *testing.T) {
			e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
				p := newChanged(t, sb)
				old, main := p.workers(), p.freeze()
				if before != nil {
					sb.Do(append([]string{"systemctl"}, before...)...)
					sb.WaitState("web", "stop-sigterm")
				}
				sb.Do("systemctl", "stop", "--no-block", "web")
				sb.WaitState("web", "stop-sigterm")
				sb.Kill(main)
				sb.WaitState("web", "failed", "dead")
				p.want("journal", sb.Journal("-u", "web"), "the unit's job is a stop: ending 4 processes that are left")
				p.nothingServes(old)
			})
		})
	}
}

// A master that does not stop in time is killed by systemd alone; sweep ends
// the workers, those too that do not want to, before its own time is over.
func TestSweepAfterAStopThatTookTooLong(t *testing.T) {
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		p := newPool(t, sb, selfBound)
		p.deploy("-ignore-term")
		p.install(service, "TimeoutStopSec=5s") // a fifth of it is for what the machine takes
		sb.Do("systemctl", "start", "web")
		old := p.workers()
		p.freeze()
		sb.Do("systemctl", "stop", "web")
		journal := sb.Journal("-u", "web")
		p.want("journal", journal, "State 'stop-sigterm' timed out. Killing.", "it did not stop in time")
		if strings.Contains(journal, "'stop-post' timed out") {
			t.Errorf("sweep took longer than the unit allows:\n%s", journal)
		}
		p.deploy("-version", "v2")
		p.nothingServes(old)
	})
}

// Whatever is no stop leaves the workers to the next master: nobody is refused.
func TestSweepLeavesThemToASuccessor(t *testing.T) {
	for name, command := range map[string][]string{
		"crash":              nil,
		"restart":            {"restart", "--no-block", "web"},
		"try-restart":        {"try-restart", "--no-block", "web"},
		"restart-then-start": {"restart", "--no-block", "web"},
	} {
		t.Run(name, func(t *testing.T) {
			e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
				p := newChanged(t, sb)
				load := p.loads()
				old, main := p.workers(), p.freeze()
				if command != nil {
					sb.Do(append([]string{"systemctl"}, command...)...)
					sb.WaitState("web", "stop-sigterm")
				}
				if name == "restart-then-start" {
					sb.Do("systemctl", "start", "--no-block", "web")
				}
				sb.Kill(main)
				p.takenOver(old)
				load.awaitMore(50)
				load.stopWithoutLoss()
				journal := sb.Journal("-u", "web")
				p.want("journal", journal, "and no stop: leaving 4 processes that are left to the next master")
				if strings.Contains(journal, "of a predecessor") {
					t.Errorf("the caretaker is taken for a worker:\n%s", journal)
				}
			})
		})
	}
}

// One caretaker is enough, however often a start fails; and it does not end
// what serves while systemd keeps trying.
func TestOneCaretaker(t *testing.T) {
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		p := newChanged(t, sb, "RestartSec=50ms", "ExecStartPre=/usr/bin/test ! -e /t/no-start")
		load := p.loads()
		old := p.workers()
		sb.File("/t/no-start", "")
		sb.File("/etc/fugue/web.toml", "wrong")
		sb.Kill(sb.MainPID("web"))
		sb.WaitMessage("restart counter is at 4", "-u", "web")
		if now := p.caretakers(); len(now) != 1 {
			t.Errorf("caretakers: %+v", now)
		}
		// A master that starts makes the caretaker needless; that the file is
		// broken does not matter to it.
		sb.Do("rm", "/t/no-start")
		p.takenOver(old)
		p.deploy("-version", "v2")
		p.reload()
		load.awaitVersion("v2")
		load.stopWithoutLoss()
	})
}
