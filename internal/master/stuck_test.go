package master

import (
	"slices"
	"testing"
	"time"

	"fugue/internal/control"
	"fugue/internal/proc"
)

// stick makes a reload fail in the middle, and going back too: the release
// that served does not come up any more either.
func (h *harness) stick() *asked {
	h.Helper()
	h.with(func() {
		h.release, h.manners["v2"], h.manners["v1"] = "v2", good, broken
		h.deploys["v2/3"] = broken // the third that is started
	})
	a := h.reload()
	h.expect(a, control.OutcomeStuck, control.ExitFailed)
	return a
}

// If going back fails too, turning stops: whoever is ready stays, the pool
// says what is wrong, and the next good release heals it.
func TestStuck(t *testing.T) {
	started(t, "workers = 4", func(h *harness) {
		var before []*process
		a := h.stick()
		c := h.final(a)
		h.mentions(c.Message, "generation 2 failed (worker 3 (pid ", "going back to generation 1 failed too (worker ", ") of generation 1 ended with exit status 1", "every worker that is ready stays")
		if len(c.Details) != 4 {
			t.Errorf("details: %q", c.Details)
		}
		h.heard("READY=1", 1)
		s := h.state(control.StateDegraded)
		h.mentions(s.Reason, "generation 2 failed", "going back to generation 1 failed too")
		// Nobody is replaced there, so nobody is to wait for it.
		if _, err := h.m.Recycle(h.ctx, control.RecycleRequest{}); exitOf(err) != control.ExitFailed {
			t.Errorf("recycle: %v", err)
		}
		for _, p := range h.alive(0) {
			if !p.silent {
				before = append(before, p)
			}
		}
		if len(before) < 4 {
			t.Errorf("%d serve", len(before))
		}
		h.pass(10 * time.Minute)
		after := h.alive(0)
		for _, p := range before {
			if !slices.Contains(after, p) {
				t.Errorf("worker %d of generation %d was ready and did not stay", p.slot, p.generation)
			}
		}
		h.state(control.StateDegraded)
		h.mentions(h.messages("STATUS=")[len(h.messages("STATUS="))-1], "degraded: ", "generation 2 failed")

		h.deploy("v3", good)
		h.expect(h.reload(), control.OutcomeOK, 0, "generation 3 serves")
		h.pass(time.Minute)
		h.serve(3, 4)
		h.state(control.StateRunning)
		h.sizes(map[string]int{"generations": 1, "pool": 1, "leftovers": 0})
	})
}

// What a stuck rollout left behind is replaced by the release that had
// served, as its workers die; the generation is forgotten with the last.
func TestLeftoversDie(t *testing.T) {
	started(t, "workers = 4", func(h *harness) {
		h.stick()
		h.with(func() { h.manners["v1"] = good })
		for _, p := range h.alive(2) {
			h.die(p, proc.Exit{Code: 1})
		}
		h.pass(time.Minute)
		h.serve(1, 4)
		h.sizes(map[string]int{"generations": 1, "pool": 1, "leftovers": 0})
		h.state(control.StateDegraded)
	})
}

// A stuck pool can be scaled, and paused, and stuck once more.
func TestStuckIsScaled(t *testing.T) {
	started(t, "workers = 4", func(h *harness) {
		h.stick()
		h.scale(1)
		h.pass(time.Minute)
		if n := len(h.alive(0)); n != 1 {
			t.Errorf("%d live after a scale to 1; %s", n, h.tale())
		}
		h.signal(28) // WINCH
		h.pass(time.Minute)
		if n := len(h.alive(0)); n != 0 {
			t.Errorf("%d live after WINCH", n)
		}
		h.with(func() { h.manners["v1"] = good })
		h.expect(h.scale(3), control.OutcomeOK, 0)
		h.pass(time.Minute)
		h.serve(1, 3)
	})
}

// Who scales while a reload goes back, and does not get there, gets the
// number all the same.
func TestScaleThenStuck(t *testing.T) {
	started(t, "workers = 4", func(h *harness) {
		h.with(func() {
			h.release, h.manners["v2"], h.manners["v1"] = "v2", good, manner{silent: true, life: time.Minute, exit: proc.Exit{Code: 1}}
			h.deploys["v2/3"] = broken
		})
		a := h.reload()
		h.pass(30 * time.Second)
		h.mentions(h.messages("STATUS=")[len(h.messages("STATUS="))-1], "rolling-back")
		b := h.scale(2)
		h.verdict(a)
		h.expect(b, control.OutcomeOK, 0)
		h.pass(time.Minute)
		if n := len(h.alive(0)); n != 2 {
			t.Errorf("%d live", n)
		}
	})
}

// Cancelling what then gets stuck is no success.
func TestCancelStuck(t *testing.T) {
	started(t, "workers = 4", func(h *harness) {
		h.with(func() {
			h.release, h.manners["v2"], h.manners["v1"] = "v2", good, broken
			h.deploys["v2/3"] = manner{ready: time.Hour}
		})
		a := h.reload()
		h.pass(5 * time.Second)
		c := h.ask(func(m *Master) (control.Ticket, error) { return m.Cancel(h.ctx) })
		h.expect(a, control.OutcomeStuck, control.ExitFailed)
		h.expect(c, control.OutcomeFailed, control.ExitFailed, "going back to generation 1 failed too")
	})
}
