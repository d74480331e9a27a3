package master

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"fugue/internal/control"
)

// Reloads asked for during one are one, shared by all who asked.
func TestOneReloadWaits(t *testing.T) {
	started(t, "workers = 2", func(h *harness) {
		h.deploy("v2", good)
		first := h.reload()
		second, third := h.reload(), h.reload()
		if second.number != third.number || second.number == first.number {
			t.Fatalf("changes %d, %d, %d: want the last two to be one", first.number, second.number, third.number)
		}
		s := h.state(control.StateReloading)
		if s.Waiting == nil || s.Waiting.Number != second.number || s.Waiting.State != control.ChangeWaiting || s.Change.Number != first.number {
			t.Errorf("change %+v, waiting %+v", s.Change, s.Waiting)
		}
		h.expect(first, control.OutcomeOK, 0, "generation 2")
		if c, err := h.m.Change(h.ctx, second.number); err != nil || c.State != control.ChangeRunning {
			t.Errorf("the second after the first: %+v, %v", c, err)
		}
		h.expect(second, control.OutcomeOK, 0, "generation 3")
		h.expect(third, control.OutcomeOK, 0, "generation 3")
		h.heard("RELOADING=1", 2)
		h.heard("READY=1", 2)
	})
}

// The reload that waited is made from what is there when it begins.
func TestWaitingReloadIsFresh(t *testing.T) {
	started(t, "workers = 2", func(h *harness) {
		h.deploy("v2", broken)
		first := h.reload()
		second := h.reload()
		h.deploy("v3", good)
		h.expect(first, control.OutcomeUndone, control.ExitUndone)
		h.expect(second, control.OutcomeOK, 0, "generation 3 serves")
	})
}

// The fix need not wait for the hang.
func TestReloadNow(t *testing.T) {
	for _, c := range []struct {
		name string
		wait time.Duration // before the fix is there
	}{{"rolling", 10 * time.Second}, {"preparing", time.Second}, {"just prepared", 5 * time.Second}} {
		t.Run(c.name, func(t *testing.T) {
			started(t, "workers = 2", func(h *harness) {
				served := h.alive(1)
				h.with(func() { h.prepare, h.deafPrep = 5*time.Second, c.wait == 5*time.Second })
				h.deploy("v2", hangs)
				first := h.reload()
				h.pass(c.wait)
				h.deploy("v3", good)
				begun := time.Now()
				second := h.reloadNow()
				h.expect(first, control.OutcomeCancelled, control.ExitUndone, "reload cancelled; generation 1 serves")
				if d := time.Since(begun); d > 5*time.Second {
					t.Errorf("cancelled after %v", d)
				}
				if len(h.alive(1)) != len(served) {
					t.Error("old workers were stopped")
				}
				h.expect(second, control.OutcomeOK, 0, " serves")
				h.heard("RELOADING=1", 2)
				h.heard("READY=1", 2)
			})
		})
	}
}

// A job that ends at the moment of the cancel does not go on all the same.
func TestCancelCannotComeTooEarly(t *testing.T) {
	started(t, "workers = 2", func(h *harness) {
		h.with(func() { h.prepare, h.deafPrep = 5*time.Second, true })
		h.deploy("v2", good)
		a := h.reload()
		h.pass(time.Second)
		c := h.ask(func(m *Master) (control.Ticket, error) { return m.Cancel(h.ctx) })
		h.expect(a, control.OutcomeCancelled, control.ExitUndone)
		h.expect(c, control.OutcomeOK, 0, "generation 1 serves")
		h.pass(time.Minute)
		h.serve(1, 2)
	})
}

func TestCancel(t *testing.T) {
	started(t, "workers = 3", func(h *harness) {
		if _, err := h.m.Cancel(h.ctx); exitOf(err) != control.ExitFailed {
			t.Errorf("cancel of nothing: %v, want exit 1", err)
		}
		h.deploy("v2", manner{ready: 3 * time.Second, drain: time.Second})
		a := h.reload()
		h.pass(9 * time.Second) // the canary is available, others roll
		c, again := h.ask(func(m *Master) (control.Ticket, error) { return m.Cancel(h.ctx) }), h.ask(func(m *Master) (control.Ticket, error) { return m.Cancel(h.ctx) })
		h.state(control.StateReloading)
		h.expect(a, control.OutcomeCancelled, control.ExitUndone, "reload cancelled; generation 1 serves")
		h.expect(c, control.OutcomeOK, 0, "generation 1 serves")
		h.expect(again, control.OutcomeOK, 0, "generation 1 serves")
		h.pass(time.Minute)
		h.serve(1, 3)
		if _, err := h.m.Cancel(h.ctx); err == nil {
			t.Error("cancel after the end is no error")
		}
		h.expect(h.reload(), control.OutcomeOK, 0)
	})
}

// Cancelling a start is not what cancel is for.
func TestCancelDuringStart(t *testing.T) {
	play(t, "workers = 1", func(h *harness) {
		h.deploy("v1", manner{ready: time.Minute})
		h.start()
		h.pass(time.Second)
		if _, err := h.m.Cancel(h.ctx); exitOf(err) != control.ExitFailed {
			t.Errorf("cancel during the start: %v, want exit 1", err)
		}
		h.pass(time.Minute)
		h.state(control.StateRunning)
	})
}

// A fix for a start that hangs is taken at once, and systemd hears READY=1
// when something is ready and not before.
func TestReloadNowDuringStart(t *testing.T) {
	play(t, "workers = 2", func(h *harness) {
		h.deploy("v1", hangs)
		h.start()
		h.pass(time.Second)
		h.deploy("v2", good)
		a := h.reloadNow()
		h.heard("READY=1", 0)
		h.expect(a, control.OutcomeOK, 0, "generation 2 serves")
		h.heard("READY=1", 1)
		h.pass(time.Minute)
		h.serve(2, 2)
	})
}

// The same while the start is prepared: it is prepared anew.
func TestReloadNowDuringPreparationOfStart(t *testing.T) {
	play(t, "workers = 2", func(h *harness) {
		h.with(func() { h.prepare = time.Hour })
		h.start()
		h.pass(time.Second)
		h.with(func() { h.prepare = time.Second })
		h.expect(h.reloadNow(), control.OutcomeOK, 0, "generation 2 serves")
		h.pass(time.Minute)
		h.serve(2, 2)
		h.heard("READY=1", 2) // of the start, and of the reload
	})
}

// A start that was cancelled comes up all the same if the reload is refused.
func TestStartAfterRefusedReload(t *testing.T) {
	play(t, "workers = 2", func(h *harness) {
		h.deploy("v1", manner{ready: time.Minute})
		h.start()
		h.pass(time.Second)
		h.write("bad")
		h.expect(h.reloadNow(), control.OutcomeRefused, control.ExitBadInput)
		h.heard("READY=1", 0)
		h.pass(time.Minute)
		h.heard("READY=1", 1)
		h.serve(1, 2)
		h.state(control.StateRunning)
	})
}

// Who waits for a pool that does not come up is told so.
func TestReloadDuringStartThatFails(t *testing.T) {
	for _, file := range []string{"workers = 1", "bad"} {
		play(t, file, func(h *harness) {
			h.with(func() { h.prepare = time.Second })
			h.deploy("v1", broken)
			h.start()
			a := h.reload()
			if h.wait() == nil {
				t.Error("the pool came up")
			}
			h.expect(a, control.OutcomeCancelled, control.ExitUndone, "did not start")
		})
	}
}

func TestNoWait(t *testing.T) {
	started(t, "workers = 1", func(h *harness) {
		h.deploy("v2", good)
		a := h.reload()
		if _, err := h.m.Reload(h.ctx, control.ReloadRequest{NoWait: true}); exitOf(err) != control.ExitBusy {
			t.Errorf("reload --no-wait during a reload: %v, want exit 75", err)
		} else {
			h.mentions(err.Error(), "a reload is under way (change 2)")
		}
		h.expect(a, control.OutcomeOK, 0)
		h.expect(h.ask(func(m *Master) (control.Ticket, error) { return m.Reload(h.ctx, control.ReloadRequest{NoWait: true}) }), control.OutcomeOK, 0)
	})
}

// A caller that goes away cancels nothing, and can ask later.
func TestCallerGoesAway(t *testing.T) {
	started(t, "workers = 1", func(h *harness) {
		h.deploy("v2", good)
		ctx, leave := context.WithCancel(context.Background())
		ticket, err := h.m.Reload(ctx, control.ReloadRequest{})
		if err != nil {
			t.Fatal(err)
		}
		leave()
		h.pass(time.Minute)
		h.serve(2, 1)
		c, err := h.m.Change(h.ctx, ticket.Change)
		if err != nil || c.Outcome != control.OutcomeOK || c.State != control.ChangeDone {
			t.Errorf("the change: %+v, %v", c, err)
		}
		if _, err := h.m.Reload(ctx, control.ReloadRequest{}); !errors.Is(err, context.Canceled) && err != nil {
			t.Errorf("asked by one who is gone: %v", err)
		}
	})
}

// A caller that does not read holds up nobody, and finds the verdict.
func TestCallerDoesNotRead(t *testing.T) {
	started(t, "workers = 60\n[reload]\nmax_surge = 1", func(h *harness) {
		h.deploy("v2", good)
		ticket, err := h.m.Reload(h.ctx, control.ReloadRequest{})
		if err != nil {
			t.Fatal(err)
		}
		h.pass(time.Minute)
		h.serve(2, 60)
		var last control.Event
		for e := range ticket.Events {
			last = e
		}
		if last.Change == nil || last.Change.Outcome != control.OutcomeOK {
			t.Errorf("the last event: %+v", last)
		}
	})
}

// The last 16 changes can be asked about, and all that are under way.
func TestChangesByNumber(t *testing.T) {
	started(t, "workers = 1", func(h *harness) {
		h.deploy("v2", hangs)
		running, waiting := h.reload(), h.reload()
		cancels := []*asked{}
		for range keptChanges + 4 {
			cancels = append(cancels, h.scale(1))
		}
		for _, a := range []*asked{running, waiting, cancels[len(cancels)-1], cancels[6]} {
			if c, err := h.m.Change(h.ctx, a.number); err != nil || c.Number != a.number {
				t.Errorf("change %d: %+v, %v", a.number, c, err)
			}
		}
		for _, n := range []int{0, cancels[0].number, 99} { // the start is the last of its kind
			if _, err := h.m.Change(h.ctx, n); !errors.Is(err, control.ErrNotFound) {
				t.Errorf("change %d: %v, want not found", n, err)
			}
		}
		h.deploy("v3", good)
		h.pass(5 * time.Minute)
		h.serve(3, 1)
		synctest.Wait()
	})
}

// After the end nobody is left waiting for an answer.
func TestAskAfterTheEnd(t *testing.T) {
	started(t, "workers = 1", func(h *harness) {
		h.signal(15)
		if err := h.wait(); err != nil {
			t.Fatal(err)
		}
		if _, err := h.m.Status(h.ctx); err == nil {
			t.Error("status of a pool that has ended")
		}
		if _, err := h.m.Reload(h.ctx, control.ReloadRequest{}); err == nil {
			t.Error("reload of a pool that has ended")
		}
		if _, err := h.m.OwnsProcess(1, nil, ""); err == nil {
			t.Error("a master that has ended trusts somebody")
		}
	})
}
