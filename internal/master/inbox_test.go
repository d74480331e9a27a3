package master

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"fugue/internal/control"
	"fugue/internal/notify"
	"fugue/internal/proc"
)

// READY=1 counts from a worker and from what it started, and from nobody
// else.
func TestWhoSays(t *testing.T) {
	play(t, "workers = 2", func(h *harness) {
		h.deploy("v1", hangs)
		h.start()
		h.pass(time.Second)
		one, two := h.worker(1), h.worker(2)
		one.say(one.pid+1000, "READY=1") // a grandchild: it has the worker in its lineage
		h.m.report(datagram{notify.Message{PID: 4711, Lineage: []int{4710, 1}, Fields: map[string]string{"READY": "1"}}})
		h.m.report(datagram{notify.Message{PID: two.pid, BadReason: "too long"}})
		h.pass(time.Second)
		s := h.state(control.StateStarting)
		if s.Ready != 1 || s.Strangers != 2 || s.Workers[0].State != control.WorkerAvailable {
			t.Errorf("%d ready, %d dropped, worker 1 is %s", s.Ready, s.Strangers, s.Workers[0].State)
		}
		two.say(two.pid, "READY=1")
		h.pass(0)
		h.heard("READY=1", 1)
		for _, p := range []struct {
			pid    int
			line   []int
			cgroup string
			owned  bool
		}{
			{one.pid, nil, "", true},
			{4712, []int{9, two.pid}, "", true},
			{4713, []int{4713, 1}, fmt.Sprintf("/web.service/worker-%d/sub", two.pid), true},
			{4711, []int{4710}, "/web.service", false},
		} {
			if owned, err := h.m.OwnsProcess(p.pid, p.line, p.cgroup); err != nil || owned != p.owned {
				t.Errorf("%+v: %v, %v", p, owned, err)
			}
		}
	})
}

// [ready] when says whose word counts.
func TestReadyWhen(t *testing.T) {
	for _, c := range []struct {
		when     string
		sockets  bool
		silent   bool
		says     bool
		at       time.Duration
		lateWord bool
	}{
		{"notify", true, true, false, -1, false},
		{"notify", true, true, true, 3 * time.Second, false},
		{"listening", true, false, false, time.Second, false},
		{"listening", true, true, true, -1, false},
		{"auto", true, false, false, time.Second, false},
		{"auto", true, true, true, 3 * time.Second, false},
		{"auto", true, false, true, time.Second, true},
		{"auto", false, true, false, 0, false},
		{"started", true, true, false, 2 * time.Second, false},
	} {
		name := strings.Join([]string{c.when, map[bool]string{true: "sockets"}[c.sockets], map[bool]string{true: "silent"}[c.silent], map[bool]string{true: "says"}[c.says]}, " ")
		t.Run(name, func(t *testing.T) {
			file := "workers = 1\n[ready]\nwhen = \"" + c.when + "\"\n"
			if c.when == "started" {
				file += "delay = \"2s\"\n"
			}
			play(t, file, func(h *harness) {
				how := manner{ready: time.Second, silent: c.silent, mute: true, seen: "holds the socket but does not wait on it"}
				h.deploy("v1", how)
				if c.sockets {
					h.listen("a")
				}
				begun := time.Now()
				h.start()
				h.pass(0)
				if s := h.status(); c.at != 0 && s.Workers[0].Note == "" && (c.when == "auto" || c.when == "listening") {
					t.Error("status says nothing of what was seen")
				}
				h.pass(3 * time.Second)
				if p := h.worker(1); c.says {
					p.say(p.pid, "READY=1")
				}
				h.pass(20 * time.Second)
				at := time.Duration(-1)
				h.with(func() {
					for _, m := range h.told {
						if m.text == "READY=1" {
							at = m.at.Sub(begun)
						}
					}
				})
				if at != c.at {
					t.Errorf("ready after %v, want %v", at, c.at)
				}
				h.logMu.Lock()
				ready := strings.Count(strings.Join(h.lines, "\n"), "is ready")
				h.logMu.Unlock()
				if ready != map[bool]int{true: 1, false: 0}[c.at >= 0] {
					t.Errorf("it became ready %d times", ready)
				}
				if note := h.status().Workers[0].Note; strings.Contains(note, "said READY=1 after it was seen listening") != c.lateWord {
					t.Errorf("note: %q", note)
				}
			})
		})
	}
}

// A worker's last word may be read after its end: it is no stranger's.
func TestLastWord(t *testing.T) {
	started(t, "workers = 2", func(h *harness) {
		p := h.worker(1)
		h.die(p, proc.Exit{})
		for _, m := range []notify.Message{{PID: p.pid}, {PID: p.pid + 1000, Lineage: []int{p.pid}}} {
			m.Fields = map[string]string{"STOPPING": "1"}
			h.m.report(datagram{m})
		}
		h.pass(time.Second)
		if n := h.status().Strangers; n != 0 {
			t.Errorf("%d dropped", n)
		}
		h.m.report(datagram{notify.Message{PID: 4711, Lineage: []int{1}}})
		h.pass(time.Second)
		if n := h.status().Strangers; n != 1 {
			t.Errorf("%d dropped", n)
		}
	})
}

// What a worker says of itself cannot become an order to systemd, nor reach a
// terminal as it is.
func TestStatusOfWorkersIsText(t *testing.T) {
	started(t, "workers = 1", func(h *harness) {
		p := h.worker(1)
		h.m.report(datagram{notify.Message{PID: p.pid, Fields: map[string]string{"STATUS": "busy\nMAINPID=1\x1b[31m"}}})
		s := h.status()
		if got := s.Workers[0].Status; got != "busy MAINPID=1" {
			t.Errorf("status %q", got)
		}
		how := broken
		how.stderr = []string{"\x1b]0;evil\x07bad\nMAINPID=1", "two\x00"}
		h.deploy("v2", how)
		c := h.verdict(h.reload())
		for _, line := range c.Details {
			if strings.ContainsAny(line, "\n\x1b\x00\x07") {
				t.Errorf("a line of stderr: %q", line)
			}
		}
		// And what was seen, in the message and in STATUS=.
		h.deploy("v3", manner{silent: true, seen: "x\nMAINPID=1", drain: time.Second})
		h.verdict(h.reload())
	})
}

// A worker that says it is stopping is replaced now, not when it has ended.
func TestStopping(t *testing.T) {
	started(t, "workers = 2\n[stop]\ntimeout = \"20s\"", func(h *harness) {
		p := h.worker(1)
		p.say(p.pid, "STOPPING=1")
		h.pass(time.Second)
		s := h.state(control.StateRunning)
		if s.Ready != 2 || len(s.Workers) != 3 {
			t.Errorf("%d ready, %d workers", s.Ready, len(s.Workers))
		}
		h.pass(20 * time.Second)
		if n := len(h.status().Workers); n != 2 {
			t.Errorf("%d workers: it was to be killed after the timeout", n)
		}
		h.serve(1, 2)
		q := h.worker(2)
		q.say(q.pid, "STOPPING=1")
		h.die(q, proc.Exit{})
		h.pass(time.Second)
		h.serve(1, 2)
		h.state(control.StateRunning)
	})
}

// EXTEND_TIMEOUT_USEC gives a worker more time to start; only as much.
func TestExtendStart(t *testing.T) {
	started(t, "workers = 1\n[ready]\nwhen = \"notify\"\ntimeout = \"10s\"", func(h *harness) {
		h.deploy("v2", hangs)
		a := h.reload()
		h.pass(9 * time.Second)
		p := h.worker(2)
		p.say(p.pid, "EXTEND_TIMEOUT_USEC=60000000")
		p.say(p.pid, "EXTEND_TIMEOUT_USEC=nonsense")
		p.say(p.pid, "EXTEND_TIMEOUT_USEC=1") // never shortens
		h.pass(59 * time.Second)
		h.undecided(a)
		h.pass(2 * time.Second)
		h.expect(a, control.OutcomeUndone, control.ExitUndone)
	})
}
