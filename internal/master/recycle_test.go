package master

import (
	"testing"
	"time"

	"fugue/internal/control"
)

// whole is a scene in which three of three workers are ready at every moment.
func whole(t *testing.T, tables string, scene func(h *harness)) {
	t.Helper()
	started(t, "workers = 3\n"+tables, func(h *harness) {
		h.floor = 3
		scene(h)
		h.floor = 0
	})
}

func (h *harness) recycle(slots ...int) *asked {
	h.Helper()
	return h.ask(func(m *Master) (control.Ticket, error) {
		return m.Recycle(h.ctx, control.RecycleRequest{Slots: slots})
	})
}

func TestRecycle(t *testing.T) {
	whole(t, "", func(h *harness) {
		before := h.alive(1)
		c := h.expect(h.recycle(), control.OutcomeOK, 0, "3 workers replaced")
		if took := c.Ended.Sub(c.Started); took != 3*(good.ready+time.Second) {
			t.Errorf("it took %v, want three times until one is available", took)
		}
		h.pass(time.Second)
		h.serve(1, 3)
		for _, p := range before {
			if p.toldNow() != 1 {
				t.Errorf("worker %d was told to stop %d times", p.slot, p.toldNow())
			}
		}
		p := h.alive(1)[1]
		h.expect(h.recycle(p.slot), control.OutcomeOK, 0, "1 worker replaced")
		h.pass(time.Second)
		h.serve(1, 3)
		if p.toldNow() != 1 || h.bornNow() != 7 {
			t.Errorf("told %d times, %d workers in all", p.toldNow(), h.bornNow())
		}
		if _, err := h.m.Recycle(h.ctx, control.RecycleRequest{Slots: []int{1, 9}}); exitOf(err) != control.ExitFailed {
			t.Errorf("recycle slot 9: %v", err)
		}
	})
}

// One that fails ends it; the others stay, and so does the one whose turn it was.
func TestRecycleFails(t *testing.T) {
	whole(t, "", func(h *harness) {
		h.with(func() { h.manners["v1"] = broken })
		c := h.expect(h.recycle(), control.OutcomeFailed, control.ExitFailed, "ended with exit status 1 before it was available", "3 workers not replaced")
		if len(c.Details) != 2 {
			t.Errorf("details: %q", c.Details)
		}
		h.pass(time.Minute)
		h.serve(1, 3)
		h.state(control.StateRunning)
	})
}

// It goes on over a handover and a takeover.
func TestRecycleIsSucceeded(t *testing.T) {
	for name, succeed := range map[string]func(h *harness){
		"handover": func(h *harness) { h.expect(h.upgrade(), control.OutcomeOK, 0) },
		"takeover": func(h *harness) { h.kill9(); h.succeed(false); h.pass(0) },
	} {
		t.Run(name, func(t *testing.T) {
			whole(t, "", func(h *harness) {
				a := h.recycle()
				h.pass(1500 * time.Millisecond)
				succeed(h)
				h.expect(a, control.OutcomeOK, 0, "3 workers replaced")
				h.pass(time.Second)
				h.serve(1, 3)
				if h.bornNow() != 6 {
					t.Errorf("%d workers in all", h.bornNow())
				}
			})
		})
	}
}

// A reload replaces all of them: nobody is recycled beside it.
func TestRecycleAndReload(t *testing.T) {
	whole(t, "", func(h *harness) {
		a := h.recycle()
		h.pass(500 * time.Millisecond)
		if _, err := h.m.Recycle(h.ctx, control.RecycleRequest{}); exitOf(err) != control.ExitBusy {
			t.Errorf("a second recycle: %v", err)
		}
		h.deploy("v2", manner{ready: time.Second})
		b := h.reload()
		if _, err := h.m.Recycle(h.ctx, control.RecycleRequest{}); exitOf(err) != control.ExitBusy {
			t.Errorf("a recycle during a reload: %v", err)
		}
		h.expect(a, control.OutcomeCancelled, control.ExitUndone, "a reload replaces all")
		h.expect(b, control.OutcomeOK, 0)
		h.pass(time.Second)
		h.serve(2, 3)
	})
}

// By age, without being asked.
func TestRecycleByAge(t *testing.T) {
	whole(t, "[recycle]\nmax_age = \"1h\"", func(h *harness) {
		h.pass(47 * time.Minute)
		if h.bornNow() != 3 {
			t.Errorf("%d workers in all, long before their time", h.bornNow())
		}
		h.pass(14 * time.Minute)
		h.serve(1, 3)
		if h.bornNow() != 6 {
			t.Errorf("%d workers in all, want 6", h.bornNow())
		}
		h.logged("is to be replaced: recycled at its age")
	})
}
