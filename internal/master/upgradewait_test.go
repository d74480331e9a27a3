package master

import (
	"syscall"
	"testing"
	"time"

	"fugue/internal/control"
)

func (h *harness) upgrade() *asked {
	h.Helper()
	return h.ask(func(m *Master) (control.Ticket, error) { return m.Upgrade(h.ctx) })
}

// An upgrade that waits behind another crosses the exec as every change does:
// the next image carries it out, or books it if it takes over.
func TestAnUpgradeThatWaits(t *testing.T) {
	started(t, "workers = 2", func(h *harness) {
		h.with(func() { h.rehearsing = time.Second })
		a, b := h.upgrade(), h.upgrade()
		c := h.reload()
		h.expect(a, control.OutcomeOK, 0, "2 workers taken along")
		h.undecided(b)
		h.expect(b, control.OutcomeOK, 0, "2 workers taken along")
		h.expect(c, control.OutcomeOK, 0)
		h.serve(2, 2)
		if h.execs != 2 {
			t.Errorf("%d handovers for two upgrades", h.execs)
		}
		a, b = h.upgrade(), h.upgrade()
		h.kill9()
		h.succeed(false)
		h.expect(a, control.OutcomeFailed, control.ExitFailed, "the master died in it")
		h.expect(b, control.OutcomeUndone, control.ExitUndone, "not begun")
		h.serve(2, 2)
	})
}

// A stop does not wait for a program that hangs in its rehearsal, and leaves
// nothing of it.
func TestAStopEndsARehearsal(t *testing.T) {
	started(t, "workers = 2", func(h *harness) {
		h.with(func() { h.rehearsing = time.Hour })
		a := h.upgrade()
		h.signal(syscall.SIGTERM)
		h.expect(a, control.OutcomeCancelled, control.ExitUndone)
		if err := h.wait(); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// A stop during a departure comes to its end when that has: what is being hung
// up then is hung up once, and a guard has somebody to release it.
func TestAStopAwaitsADeparture(t *testing.T) {
	started(t, "workers = 2", func(h *harness) {
		h.with(func() { h.departs = 5 * time.Second })
		a := h.upgrade()
		h.pass(time.Second)
		h.signal(syscall.SIGTERM)
		h.expect(a, control.OutcomeCancelled, control.ExitUndone)
		if err := h.wait(); err != nil || h.returns != 1 {
			t.Errorf("Run: %v, %d returns", err, h.returns)
		}
	})
}
