package master

import (
	"context"
	"runtime"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"fugue/internal/control"
	"fugue/internal/proc"
	"fugue/pool"
	"fugue/reload"
)

// slowly is a release whose rollout can be met at each of its steps.
var slowly = manner{ready: 3 * time.Second, drain: time.Second}

// until lets time go by until the rollout is in a phase, and reports whether
// it came to that.
func (h *harness) until(phase reload.Phase) bool {
	h.Helper()
	for range 10_000 {
		synctest.Wait()
		there := false
		_ = h.m.ask(h.ctx, func(m *Master, _ time.Time) { there = m.rollout != nil && m.rollout.Phase() == phase })
		if there {
			return true
		}
		h.pass(50 * time.Millisecond)
	}
	h.Errorf("the rollout is never %s; %s", phase, h.tale())
	return false
}

// replace kills the master and starts another a while later.
func (h *harness) replace() {
	h.kill9()
	h.pass(100 * time.Millisecond)
	h.succeed(false)
	h.pass(0)
}

// A start goes on under the successor: who was starting becomes ready.
func TestDeathDuringStart(t *testing.T) {
	play(t, "workers = 3", func(h *harness) {
		h.deploy("v1", manner{ready: 5 * time.Second})
		h.start()
		h.pass(time.Second)
		h.state(control.StateStarting)
		h.replace()
		h.heard("READY=1", 0)
		h.pass(10 * time.Second)
		h.state(control.StateRunning)
		h.serve(1, 3)
		h.heard("READY=1", 1)
		if h.bornNow() != 3 {
			t.Errorf("%d processes were made, want 3", h.bornNow())
		}
		if c, err := h.m.Change(h.ctx, 1); err != nil || c.Kind != kindStart || c.Outcome != control.OutcomeOK {
			t.Errorf("the start: %+v, %v", c, err)
		}
	})
}

// A death never deploys: the rollout turns back from wherever it was, with
// the number of workers there had been, and who asked gets 5.
func TestDeathTurnsBack(t *testing.T) {
	for _, phase := range []reload.Phase{reload.Canary, reload.Baking, reload.Advancing} {
		t.Run(phase.String(), func(t *testing.T) {
			started(t, "workers = 3", func(h *harness) {
				h.deploy("v2", slowly)
				h.write("workers = 5\n[reload]\nbake = \"5s\"")
				h.floor = 3
				a := h.reload()
				h.until(phase)
				if phase == reload.Advancing {
					h.pass(4 * time.Second) // not only decided: the first old one is gone
				}
				h.replace()
				h.expect(a, control.OutcomeUndone, control.ExitUndone, "the master died during the rollout", "generation 1 serves")
				h.pass(time.Minute)
				h.state(control.StateRunning)
				h.serve(1, 3)
				h.expect(h.reload(), control.OutcomeOK, 0)
				h.pass(time.Minute)
				h.serve(3, 5)
				h.floor = 0
			})
		})
	}
}

// Where every old worker has been told to stop there is nothing to go back
// to: the rollout goes on.
func TestDeathGoesForward(t *testing.T) {
	started(t, "workers = 2", func(h *harness) {
		h.deploy("v1", manner{ready: time.Second, drain: time.Minute})
		h.expect(h.reload(), control.OutcomeOK, 0)
		h.deploy("v2", slowly)
		h.write("workers = 2\n[restart]\nmin_uptime = \"20s\"")
		a := h.reload()
		for range 2000 {
			if len(h.alive(2)) == 0 {
				break
			}
			h.pass(50 * time.Millisecond)
		}
		h.undecided(a)
		h.replace()
		h.expect(a, control.OutcomeOK, 0, "generation 3 serves")
		h.pass(2 * time.Minute)
		h.serve(3, 2)
	})
}

// What is going back goes on going back, and for its own reason.
func TestDeathDuringGoingBack(t *testing.T) {
	started(t, "workers = 3", func(h *harness) {
		h.with(func() {
			for _, slot := range []string{"1", "2", "3", "5"} { // all but the canary
				h.deploys["v2/"+slot] = manner{silent: true, life: time.Second, exit: proc.Exit{Code: 3}}
			}
		})
		h.deploy("v1", slowly)
		h.deploy("v2", slowly)
		a := h.reload()
		h.until(reload.RollingBack)
		h.replace()
		h.expect(a, control.OutcomeUndone, control.ExitUndone, "exited before it was available", "generation 1 serves")
		h.pass(time.Minute)
		h.serve(1, 3)
	})
}

// A cancelled reload is cancelled still, and its two callers hear so.
func TestDeathDuringCancel(t *testing.T) {
	started(t, "workers = 3", func(h *harness) {
		h.deploy("v1", slowly)
		h.deploy("v2", slowly)
		a := h.reload()
		h.until(reload.Advancing)
		h.pass(4 * time.Second)
		c := h.ask(func(m *Master) (control.Ticket, error) { return m.Cancel(h.ctx) })
		h.undecided(c)
		h.replace()
		h.expect(a, control.OutcomeCancelled, control.ExitUndone, "reload cancelled")
		h.expect(c, control.OutcomeOK, 0, "generation 1 serves")
	})
}

// What a stuck rollout left behind stays, over the master's death too.
func TestDeathWhenStuck(t *testing.T) {
	started(t, "workers = 4", func(h *harness) {
		h.stick()
		h.pass(time.Minute)
		before := len(h.alive(2))
		h.replace()
		h.pass(time.Minute)
		h.mentions(h.state(control.StateDegraded).Reason, "generation 2 failed", "going back to generation 1 failed too")
		if got := len(h.alive(2)); got != before || got == 0 {
			t.Errorf("%d of generation 2 stay of %d", got, before)
		}
		h.deploy("v3", good)
		h.expect(h.reload(), control.OutcomeOK, 0, "generation 3 serves")
		h.pass(time.Minute)
		h.serve(3, 4)
	})
}

// A reload that had touched nothing, and one that waited, are not done by the
// successor: who asked is told.
func TestDeathDropsReloads(t *testing.T) {
	started(t, "workers = 2", func(h *harness) {
		h.deploy("v2", good)
		h.with(func() { h.prepare = time.Minute })
		a, b := h.reload(), h.reload()
		h.replace()
		h.expect(a, control.OutcomeUndone, control.ExitUndone, "died before anything was touched; generation 1 serves")
		h.expect(b, control.OutcomeUndone, control.ExitUndone, "reload not begun", "ask again")
		h.pass(5 * time.Minute)
		h.serve(1, 2)
	})
}

// A scale is no deployment; it goes on.
func TestDeathDuringScale(t *testing.T) {
	started(t, "workers = 2", func(h *harness) {
		h.deploy("v1", slowly)
		a := h.scale(5)
		h.pass(time.Second)
		h.replace()
		h.undecided(a)
		h.expect(a, control.OutcomeOK, 0, "5 workers")
		h.serve(1, 5)
		h.mentions(h.status().Notes[0], "scaled to 5; the configuration says 2")
	})
}

func TestDeathWhenPaused(t *testing.T) {
	started(t, "workers = 2", func(h *harness) {
		h.signal(syscall.SIGWINCH)
		h.pass(time.Minute)
		h.replace()
		h.pass(time.Minute)
		h.mentions(h.state(control.StateEmpty).Reason, "SIGWINCH")
		h.serve(1, 0)
		h.expect(h.scale(2), control.OutcomeOK, 0)
		h.serve(1, 2)
	})
}

// A stop signal that was decided, and not sent, is the successor's to send.
func TestDeathBeforeTheSignal(t *testing.T) {
	started(t, "workers = 2", func(h *harness) {
		h.deploy("v1", manner{drain: time.Minute})
		h.deploy("v2", good)
		h.with(func() {
			h.onSave = func(stored bool) {
				if s := h.savedNow(); !stored || !s.decided() {
					return
				}
				h.onSave = nil
				runtime.Goexit()
			}
		})
		a := h.reload()
		<-h.m.ended
		h.remains()
		if n := len(h.alive(1)); n != 2 {
			t.Fatalf("%d live of 2: a signal went out", n)
		}
		h.succeed(false)
		h.expect(a, control.OutcomeUndone, control.ExitUndone, "generation 1 serves")
		h.pass(5 * time.Minute)
		h.serve(1, 2)
		h.logged("stopping worker", "of generation 1")
	})
}

// savedNow is what a successor would find.
func (h *harness) savedNow() *saved {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.written()
}

// decided reports a worker whose stop signal is to be sent.
func (s *saved) decided() bool {
	for _, w := range s.Workers {
		if w.Signalled && !w.Sent && w.State == pool.Stopping.String() {
			return true
		}
	}
	return false
}

// Who dies while there is no master is replaced, who had been told to stop is
// not.
func TestDeathsWhileThereIsNoMaster(t *testing.T) {
	started(t, "workers = 3", func(h *harness) {
		h.with(func() {
			for _, p := range h.processes {
				p.drain = 10 * time.Second // they are asleep: nobody reads it now
			}
		})
		a := h.scale(2)
		h.pass(time.Second)
		left := h.alive(1)
		h.kill9()
		h.die(left[0], proc.Exit{Signal: syscall.SIGKILL})
		h.pass(time.Minute) // the other has drained
		h.forget()
		h.succeed(false)
		h.expect(a, control.OutcomeOK, 0)
		h.pass(time.Minute)
		h.serve(1, 2)
		h.logged("stopped while there was no master")
		h.logged("ended while there was no master:")
		if h.bornNow() != 4 {
			t.Errorf("%d processes were made, want 4", h.bornNow())
		}
		w := h.status().Workers[0]
		if w.Restarts != 1 || w.LastExit != "ended while there was no master" {
			t.Errorf("worker %d: %d restarts, %q", w.Slot, w.Restarts, w.LastExit)
		}
	})
}

// A stop whose master dies before it is known to be one is none.
func TestDeathBeforeTheStopIsDecided(t *testing.T) {
	play(t, "workers = 2", func(h *harness) {
		h.m.opts.Unit = "web.service"
		h.job = func(ctx context.Context) (string, error) { <-ctx.Done(); return "", ctx.Err() }
		h.start()
		h.pass(10 * time.Second)
		h.signal(syscall.SIGTERM)
		n := h.m.changes.last
		h.replace()
		h.state(control.StateRunning)
		if c, err := h.m.Change(h.ctx, n); err != nil || c.Outcome != control.OutcomeFailed {
			t.Errorf("the stop: %+v, %v", c, err)
		}
		h.serve(1, 2)
		h.signal(syscall.SIGINT)
		_ = h.wait()
	})
}
