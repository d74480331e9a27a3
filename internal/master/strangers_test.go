package master

import (
	"fmt"
	"testing"
	"time"

	"fugue/internal/control"
)

// left makes processes that a predecessor left.
func (h *harness) left(how ...manner) {
	for i, m := range how {
		h.strangers = append(h.strangers, 100+i)
		h.manners[fmt.Sprint("stranger ", 100+i)] = m
	}
}

func (h *harness) stranger(pid int) *process {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.processes[pid]
}

// What a predecessor left serves on until the pool is ready; then it is
// ended as an old worker would be.
func TestStrangers(t *testing.T) {
	play(t, "workers = 2\n[stop]\ntimeout = \"20s\"", func(h *harness) {
		h.left(manner{silent: true, drain: 3 * time.Second}, manner{silent: true, deaf: true})
		h.strangers = append(h.strangers, 4711) // gone before it could be watched
		h.deploy("v1", manner{ready: 10 * time.Second})
		h.start()
		h.pass(9 * time.Second)
		a, b := h.stranger(100), h.stranger(101)
		if a == nil || b == nil || a.stops+b.stops > 0 {
			t.Fatal("ended before the pool is ready")
		}
		h.logged("found process 100 of a predecessor")
		h.pass(2 * time.Second)
		if a.stops != 1 || b.stops != 1 {
			t.Errorf("%d and %d stop signals, want one each", a.stops, b.stops)
		}
		if s := h.status(); len(s.Notes) != 1 || s.Notes[0] != "2 processes of a predecessor not yet ended" {
			t.Errorf("notes: %q", s.Notes)
		}
		h.pass(3 * time.Second)
		h.logged("process 100 of a predecessor has ended")
		if h.stranger(101) == nil {
			t.Error("killed before its time")
		}
		h.pass(20 * time.Second)
		h.logged("killing process 101 of a predecessor: it did not stop in time")
		if h.stranger(100) != nil || h.stranger(101) != nil {
			t.Error("they live")
		}
		h.serve(1, 2)
		h.idle()
	})
}

// While they serve, a start that fails is no reason to end: they are left
// alone, the pool is up for systemd, degraded, and goes on trying.
func TestStartFailsBesideStrangers(t *testing.T) {
	play(t, "workers = 2", func(h *harness) {
		h.left(manner{silent: true})
		h.deploy("v1", broken)
		h.start()
		h.pass(10 * time.Minute)
		s := h.state(control.StateDegraded)
		h.mentions(s.Reason, "0 of 2 workers ready", "exit status 1")
		h.heard("READY=1", 1)
		if p := h.stranger(100); p == nil || p.stops > 0 {
			t.Error("the predecessor's process was ended and nothing else serves")
		}
		if s.Change.Outcome != control.OutcomeFailed || len(s.Change.Details) == 0 {
			t.Errorf("the start: %+v", s.Change)
		}
		h.deploy("v2", good)
		h.expect(h.reload(), control.OutcomeOK, 0)
		h.pass(time.Minute)
		h.serve(2, 2)
		if h.stranger(100) != nil {
			t.Error("the predecessor's process lives")
		}
	})
}

// They end with the pool.
func TestStopEndsStrangers(t *testing.T) {
	play(t, "workers = 1\n[stop]\ntimeout = \"20s\"", func(h *harness) {
		h.left(manner{silent: true, deaf: true}, manner{silent: true, drain: time.Second})
		h.deploy("v1", hangs)
		h.start()
		h.pass(time.Second)
		begun := time.Now()
		h.signal(15)
		if err := h.wait(); err != nil || time.Since(begun) != 20*time.Second {
			t.Errorf("Run: %v after %v", err, time.Since(begun))
		}
	})
}
