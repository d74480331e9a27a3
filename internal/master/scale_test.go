package master

import (
	"testing"
	"time"

	"fugue/internal/control"
)

func TestScale(t *testing.T) {
	started(t, "workers = 2", func(h *harness) {
		c := h.expect(h.scale(5), control.OutcomeOK, 0, "5 workers")
		if took := c.Ended.Sub(c.Started); took != good.ready {
			t.Errorf("it took %v, want until all are ready: %v", took, good.ready)
		}
		h.serve(1, 5)
		h.expect(h.ask(func(m *Master) (control.Ticket, error) {
			return m.Scale(h.ctx, control.ScaleRequest{N: -2, Relative: true})
		}), control.OutcomeOK, 0, "3 workers")
		h.expect(h.ask(func(m *Master) (control.Ticket, error) {
			return m.Scale(h.ctx, control.ScaleRequest{N: 1, Relative: true})
		}), control.OutcomeOK, 0, "4 workers")
		h.pass(time.Second)
		h.serve(1, 4)
		h.expect(h.scale(4), control.OutcomeOK, 0)
		h.expect(h.scale(0), control.OutcomeOK, 0)
		h.pass(time.Second)
		h.serve(1, 0)
		h.state(control.StateRunning)
		for _, r := range []control.ScaleRequest{{N: -1}, {N: -1, Relative: true}, {N: maxWorkers + 1}} {
			if _, err := h.m.Scale(h.ctx, r); exitOf(err) != control.ExitUsage {
				t.Errorf("scale %+v: %v, want exit 2", r, err)
			}
		}
		h.serve(1, 0)
	})
}

// A scale that comes after another takes its place.
func TestScaleTwice(t *testing.T) {
	started(t, "workers = 2", func(h *harness) {
		h.with(func() { h.manners["v1"] = manner{ready: time.Minute} })
		first := h.scale(3)
		second := h.scale(4)
		h.expect(first, control.OutcomeCancelled, control.ExitUndone)
		h.expect(second, control.OutcomeOK, 0)
		h.serve(1, 4)
	})
}

func TestScaleFails(t *testing.T) {
	started(t, "workers = 2", func(h *harness) {
		h.with(func() { h.manners["v1"] = broken })
		c := h.expect(h.scale(3), control.OutcomeFailed, control.ExitFailed, "worker 3 (pid 5000003) of generation 1 ended with exit status 1", "tried again")
		if len(c.Details) != 2 {
			t.Errorf("details: %q", c.Details)
		}
		h.pass(time.Minute)
		s := h.state(control.StateDegraded)
		h.mentions(s.Reason, "2 of 3 workers ready")
		h.with(func() { h.manners["v1"] = good })
		h.pass(time.Minute)
		h.serve(1, 3)
		h.state(control.StateRunning)
	})
}

// During a rollout a scale counts for both releases, whichever comes to serve.
func TestScaleWhileRolling(t *testing.T) {
	for name, how := range map[string]manner{"done": {ready: 2 * time.Second}, "undone": {ready: time.Second, life: 2900 * time.Millisecond}} {
		for _, n := range []int{1, 6} {
			t.Run(name, func(t *testing.T) {
				started(t, "workers = 3\n[reload]\nbake = \"5s\"", func(h *harness) {
					h.deploy("v2", how)
					a := h.reload()
					h.pass(time.Second)
					b := h.scale(n)
					h.undecided(b)
					serves := 2
					if h.verdict(a).Outcome != control.OutcomeOK {
						serves = 1
					}
					h.expect(b, control.OutcomeOK, 0)
					h.pass(time.Minute)
					h.serve(serves, n)
					if (serves == 2) != (name == "done") {
						t.Errorf("generation %d serves", serves)
					}
				})
			})
		}
	}
}

// While a reload is only prepared, a scale is done at once.
func TestScaleWhilePreparing(t *testing.T) {
	started(t, "workers = 2", func(h *harness) {
		h.with(func() { h.prepare = time.Hour })
		a := h.reload()
		c := h.expect(h.scale(3), control.OutcomeOK, 0)
		if took := c.Ended.Sub(c.Started); took > time.Second {
			t.Errorf("it took %v", took)
		}
		h.undecided(a)
		h.expect(a, control.OutcomeOK, 0)
		h.serve(2, 3)
	})
}

// A scaled number lasts until the file says another than at its last reading.
func TestScaledNumberLasts(t *testing.T) {
	started(t, "workers = 2", func(h *harness) {
		h.expect(h.scale(5), control.OutcomeOK, 0)
		h.expect(h.reload(), control.OutcomeOK, 0)
		h.pass(time.Second)
		h.serve(2, 5)
		if s := h.status(); len(s.Notes) != 1 || s.Notes[0] != "scaled to 5; the configuration says 2" {
			t.Errorf("notes: %q", s.Notes)
		}
		h.deploy("v2", broken)
		h.write("workers = 3")
		h.expect(h.reload(), control.OutcomeUndone, control.ExitUndone)
		h.serve(2, 5)
		h.deploy("v3", good)
		h.expect(h.reload(), control.OutcomeOK, 0) // the file says 3 for the first time that counts
		h.pass(time.Second)
		h.serve(4, 3)
		if s := h.status(); len(s.Notes) != 0 {
			t.Errorf("notes: %q", s.Notes)
		}
		h.expect(h.scale(2), control.OutcomeOK, 0)
		h.expect(h.reload(), control.OutcomeOK, 0)
		h.pass(time.Second)
		h.serve(5, 2)
	})
}

func TestScaleBeforeAnything(t *testing.T) {
	play(t, "workers = 2", func(h *harness) {
		h.with(func() { h.prepare = time.Minute })
		h.start()
		if _, err := h.m.Scale(h.ctx, control.ScaleRequest{N: 3}); exitOf(err) != control.ExitBusy {
			t.Errorf("scale: %v, want exit 75", err)
		}
	})
}

// Scaling a pool that starts counts for the start.
func TestScaleDuringStart(t *testing.T) {
	play(t, "workers = 2", func(h *harness) {
		h.deploy("v1", manner{ready: 10 * time.Second})
		h.start()
		h.pass(5 * time.Second)
		a := h.scale(3)
		h.pass(6 * time.Second)
		h.heard("READY=1", 0)
		h.undecided(a)
		h.expect(a, control.OutcomeOK, 0)
		h.heard("READY=1", 1)
		h.serve(1, 3)
	})
}
