package master

import (
	"errors"
	"syscall"
	"testing"
	"time"

	"fugue/internal/control"
	"fugue/internal/proc"
)

// execed checks how often there was an exec, and how often one was given up.
func (h *harness) execed(execs, returns int) {
	h.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.execs != execs || h.returns != returns {
		h.Errorf("%d execs and %d given up, want %d and %d; the log: %q", h.execs, h.returns, execs, returns, h.lines)
	}
}

// Workers do not notice an upgrade, and the caller hears of its end.
func TestUpgrade(t *testing.T) {
	started(t, "workers = 2", func(h *harness) {
		before := h.alive(1)
		h.floor = 2
		h.expect(h.upgrade(), control.OutcomeOK, 0, "2 workers taken along")
		h.execed(1, 0)
		h.pass(time.Minute)
		h.state(control.StateRunning)
		for i, p := range h.alive(1) {
			if p != before[i] {
				t.Errorf("worker %d is another process", p.slot)
			}
		}
		h.heard("READY=1", 0) // systemd was told once
		h.floor = 0
	})
}

// An upgrade waits for a rollout, and a reload for an upgrade; USR2 is both.
func TestUpgradeInTheQueue(t *testing.T) {
	started(t, "workers = 2", func(h *harness) {
		h.deploy("v2", slowly)
		a, b := h.reload(), h.upgrade()
		shared := h.upgrade()
		h.execed(0, 0)
		h.expect(a, control.OutcomeOK, 0, "generation 2 serves")
		h.expect(b, control.OutcomeOK, 0)
		h.expect(shared, control.OutcomeOK, 0)
		h.execed(1, 0)
	})
	started(t, "workers = 2", func(h *harness) {
		h.with(func() { h.rehearsing = time.Second })
		h.deploy("v2", good)
		a, b := h.upgrade(), h.reload()
		h.pass(500 * time.Millisecond)
		h.heard("RELOADING=1", 0)
		h.expect(a, control.OutcomeOK, 0)
		h.expect(b, control.OutcomeOK, 0, "generation 2 serves")
	})
	started(t, "workers = 2", func(h *harness) {
		h.deploy("v2", good)
		h.signal(syscall.SIGUSR2)
		h.pass(10 * time.Second)
		h.execed(1, 0)
		h.serve(2, 2)
	})
}

// A master that dies with an upgrade waiting leaves its caller a verdict.
func TestDeathDropsUpgrade(t *testing.T) {
	started(t, "workers = 2", func(h *harness) {
		h.deploy("v2", slowly)
		a, b := h.reload(), h.upgrade()
		h.replace()
		h.expect(b, control.OutcomeUndone, control.ExitUndone, "upgrade not begun")
		h.expect(a, control.OutcomeUndone, control.ExitUndone)
	})
	started(t, "workers = 2", func(h *harness) {
		h.with(func() { h.rehearsing = time.Second })
		a := h.upgrade()
		h.replace()
		h.expect(a, control.OutcomeFailed, control.ExitFailed, "upgrade failed", "died")
	})
}

// A program that cannot take over is not let try.
func TestUpgradeRefused(t *testing.T) {
	started(t, "workers = 2", func(h *harness) {
		h.with(func() { h.rehearsal = errors.New("the new program says no") })
		h.expect(h.upgrade(), control.OutcomeUndone, control.ExitUndone, "upgrade refused: the new program says no; fugue 1 goes on as before")
		h.execed(0, 0)
		h.state(control.StateRunning)
		h.serve(1, 2)
	})
}

// An exec that fails leaves everything as it was, and what waited begins.
func TestExecFails(t *testing.T) {
	started(t, "workers = 2", func(h *harness) {
		h.with(func() { h.execErr, h.rehearsing = errors.New("text file busy"), time.Second })
		h.deploy("v2", good)
		begun := time.Now()
		a, b := h.upgrade(), h.reload()
		h.expect(a, control.OutcomeUndone, control.ExitUndone, "upgrade refused: text file busy", "goes on as before")
		if d := time.Since(begun); d > 2*time.Second {
			t.Errorf("told after %v", d)
		}
		h.execed(0, 1)
		h.expect(b, control.OutcomeOK, 0, "generation 2 serves")
		h.expect(h.scale(3), control.OutcomeOK, 0)
	})
}

// Signals that come at the last moment are acted on, by whoever is there.
func TestSignalsAtTheLastMoment(t *testing.T) {
	late := func(sig syscall.Signal) []proc.Signal { return []proc.Signal{{Signal: sig, FromUser: true}} }
	for _, execErr := range []error{nil, errors.New("no")} {
		for name, c := range map[string]struct {
			sig                     syscall.Signal
			execs, generation, live int
		}{
			"HUP": {syscall.SIGHUP, 1, 2, 2}, "TTIN": {syscall.SIGTTIN, 1, 1, 3}, "USR2": {syscall.SIGUSR2, 2, 2, 2},
		} {
			t.Run(name, func(t *testing.T) {
				started(t, "workers = 2", func(h *harness) {
					h.deploy("v2", good)
					h.with(func() { h.late, h.execErr = late(c.sig), execErr })
					a := h.upgrade()
					execs, returns := c.execs, 0
					if execErr != nil {
						execs, returns = 0, c.execs
					}
					h.verdict(a)
					h.pass(time.Minute)
					h.execed(execs, returns)
					h.serve(c.generation, c.live)
					h.state(control.StateRunning)
				})
			})
		}
	}
	t.Run("TERM", func(t *testing.T) {
		started(t, "workers = 2", func(h *harness) {
			h.with(func() { h.late = late(syscall.SIGTERM) })
			a := h.upgrade()
			h.expect(a, control.OutcomeCancelled, control.ExitUndone, "being stopped")
			h.execed(0, 1)
			begun := time.Now()
			if err := h.wait(); err != nil {
				t.Error(err)
			}
			if d := time.Since(begun); d > time.Minute {
				t.Errorf("stopped after %v", d)
			}
		})
	})
}

// A stop that comes in the middle of an upgrade is a stop.
func TestStopDuringUpgrade(t *testing.T) {
	for name, c := range map[string]struct {
		rehearsing, departs time.Duration
		returns             int
	}{"rehearsing": {2 * time.Second, 0, 0}, "departing": {0, 2 * time.Second, 1}} {
		t.Run(name, func(t *testing.T) {
			started(t, "workers = 2", func(h *harness) {
				h.with(func() { h.rehearsing, h.departs = c.rehearsing, c.departs })
				a := h.upgrade()
				h.pass(time.Second)
				h.signal(syscall.SIGTERM)
				h.expect(a, control.OutcomeCancelled, control.ExitUndone, "being stopped")
				h.pass(10 * time.Second)
				_ = h.wait()
				if h.execs != 0 || h.returns > c.returns {
					t.Errorf("%d execs, %d returns", h.execs, h.returns)
				}
			})
		})
	}
}

// Nothing goes over an exec that could not be written down. It is said once,
// and in the status as long as it is so.
func TestStateCannotBeWritten(t *testing.T) {
	started(t, "workers = 2", func(h *harness) {
		h.with(func() { h.saveErr = errors.New("no space left on device") })
		h.expect(h.scale(3), control.OutcomeOK, 0)
		h.deploy("v2", good)
		h.expect(h.reload(), control.OutcomeOK, 0)
		h.expect(h.upgrade(), control.OutcomeUndone, control.ExitUndone, "write the state down: no space left on device")
		if h.execs != 0 {
			t.Errorf("%d execs", h.execs)
		}
		said := 0
		for _, line := range h.lines {
			if line == "write the state down: no space left on device; a successor of this master would go on from an older one" {
				said++
			}
		}
		if said != 1 {
			t.Errorf("said %d times", said)
		}
		note := func() (n int) {
			for _, text := range h.status().Notes {
				if text == "the state cannot be written down (no space left on device): a successor would go on from an older one" {
					n++
				}
			}
			return n
		}
		if note() != 1 {
			t.Errorf("notes: %q", h.status().Notes)
		}
		h.with(func() { h.saveErr = nil })
		h.expect(h.scale(2), control.OutcomeOK, 0)
		if note() != 0 {
			t.Errorf("notes: %q", h.status().Notes)
		}
		h.expect(h.upgrade(), control.OutcomeOK, 0)
	})
}

// What a worker has left in its group is waited for, by its replacement and by
// an exec, which would lose how the worker ended.
func TestLingering(t *testing.T) {
	started(t, "workers = 2", func(h *harness) {
		lingers := good
		lingers.linger = 500 * time.Millisecond
		h.deploy("v2", lingers)
		h.expect(h.reload(), control.OutcomeOK, 0)
		h.pass(10 * time.Second)
		h.die(h.alive(2)[0], proc.Exit{Code: 3})
		a := h.upgrade()
		h.pass(400 * time.Millisecond)
		h.execed(0, 0)
		if left := h.alive(0); len(left) != 1 {
			t.Errorf("%d live: replaced before all of it had gone", len(left))
		}
		h.expect(a, control.OutcomeOK, 0)
		h.pass(10 * time.Second)
		h.execed(1, 0)
		h.serve(2, 2)
		h.logged("ended: exit status 3")
	})
}
