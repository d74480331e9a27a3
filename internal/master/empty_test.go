package master

import (
	"testing"
	"time"

	"fugue/internal/control"
	"fugue/internal/proc"
)

// All die, and none comes up again.
func (h *harness) perish() {
	h.Helper()
	h.with(func() { h.manners["v1"] = broken })
	for _, p := range h.alive(1) {
		h.die(p, proc.Exit{Code: 1})
	}
}

func TestNoWorkerLeftHolds(t *testing.T) {
	started(t, "workers = 2", func(h *harness) {
		h.perish()
		h.pass(time.Minute)
		for range 100 { // between two tries
			if h.status().Reason != "" && len(h.alive(1)) == 0 {
				break
			}
			h.pass(100 * time.Millisecond)
		}
		s := h.state(control.StateDegraded)
		h.mentions(s.Reason, "no worker is left, and connections wait", "ended with exit status 1")
		status := h.messages("STATUS=")
		h.mentions(status[len(status)-1], "no worker is left")
		h.with(func() { h.manners["v1"] = good })
		h.pass(time.Minute)
		h.serve(1, 2)
		h.state(control.StateRunning)
	})
}

func TestNoWorkerLeftExits(t *testing.T) {
	started(t, "workers = 2\nwhen_empty = \"exit\"", func(h *harness) {
		h.die(h.worker(1), proc.Exit{Code: 1}) // one is no matter
		h.pass(10 * time.Second)
		h.serve(1, 2)
		for _, p := range h.alive(1) { // nor are all, if others come up
			h.die(p, proc.Exit{Code: 1})
		}
		h.pass(10 * time.Second)
		h.serve(1, 2)
		h.perish()
		err := h.wait()
		if exitOf(err) != control.ExitFailed {
			t.Errorf("Run: %v", err)
		}
		h.mentions(err.Error(), "no worker is left", "ended with exit status 1 before it was available", "when_empty", "no such table: users")
	})
}
