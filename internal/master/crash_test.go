package master

import (
	"syscall"
	"testing"
	"time"

	"fugue/internal/control"
	"fugue/internal/proc"
)

// One worker that dies is one worker that is replaced, at once.
func TestKilledWorkerIsReplaced(t *testing.T) {
	started(t, "workers = 3", func(h *harness) {
		p := h.worker(2)
		h.die(p, proc.Exit{Signal: syscall.SIGKILL})
		if now := h.worker(2); now == p {
			t.Error("worker 2 was not started again")
		}
		h.pass(good.ready)
		h.serve(1, 3)
		h.state(control.StateRunning)
		for _, w := range h.status().Workers {
			if w.Slot == 2 && (w.Restarts != 1 || w.LastExit != "killed by SIGKILL") {
				t.Errorf("worker 2: %+v", w)
			}
		}
		h.logged("worker 2", "ended: killed by SIGKILL")
	})
}

// A clean exit after a while is what servers with a limit of requests do.
func TestCleanExitIsNoFailure(t *testing.T) {
	started(t, "workers = 1", func(h *harness) {
		for range 20 {
			h.die(h.worker(1), proc.Exit{})
			h.pass(2 * time.Second)
			h.state(control.StateRunning)
		}
		h.serve(1, 1)
		if s := h.status(); s.Workers[0].Restarts != 20 {
			t.Errorf("restarts: %d", s.Workers[0].Restarts)
		}
	})
}

// A crash loop is slowed down and said, harms nobody else, and heals.
func TestCrashLoop(t *testing.T) {
	started(t, "workers = 3", func(h *harness) {
		others := h.alive(1)[1:]
		h.with(func() { h.deploys["v1/1"] = broken })
		h.die(h.worker(1), proc.Exit{Code: 1})
		h.pass(10 * time.Minute)
		h.with(func() {
			if n := h.born - 3; n < 15 || n > 45 { // 0.1 s, 0.2 s, … 30 s, ±25 %
				t.Errorf("%d starts in ten minutes", n)
			}
		})
		s := h.state(control.StateDegraded)
		h.mentions(s.Reason, "2 of 3 workers ready: worker 1 (pid ", "of generation 1 ended with exit status 1 before it was available")
		status := h.messages("STATUS=")
		h.mentions(status[len(status)-1], "degraded: 2 of 3 workers ready, generation 1", "exit status 1")
		h.logged("the pool is degraded")
		for i, p := range h.alive(1)[len(h.alive(1))-2:] {
			if p != others[i] {
				t.Errorf("worker %d was touched", p.slot)
			}
		}
		h.with(func() { clear(h.deploys) })
		h.pass(time.Minute)
		h.state(control.StateRunning)
		h.serve(1, 3)
	})
}

// The log says once that the pool is degraded, not at each crash.
func TestDegradedIsSaidOnce(t *testing.T) {
	started(t, "workers = 2", func(h *harness) {
		h.with(func() { h.deploys["v1/1"] = broken })
		h.die(h.worker(1), proc.Exit{Code: 1})
		h.pass(time.Hour)
		said := 0
		for _, line := range h.lines {
			if len(line) > 20 && line[:20] == "the pool is degraded" {
				said++
			}
		}
		if said != 1 {
			t.Errorf("said %d times", said)
		}
	})
}

// All at once: a machine that had no memory for a while.
func TestAllDie(t *testing.T) {
	started(t, "workers = 4", func(h *harness) {
		for _, p := range h.alive(1) {
			p.dies <- proc.Exit{Signal: syscall.SIGKILL}
		}
		h.pass(time.Second)
		h.serve(1, 4)
		h.state(control.StateRunning)
	})
}

// More old workers than may drain: the longest-draining is killed, and said.
func TestMaxDraining(t *testing.T) {
	started(t, "workers = 2\n[stop]\nmax_draining = 1\ntimeout = \"1h\"", func(h *harness) {
		for _, p := range h.alive(1) {
			p.drain = 30 * time.Minute
		}
		h.deploy("v2", good)
		h.expect(h.reload(), control.OutcomeOK, 0)
		h.pass(time.Second)
		h.logged("killing worker 2", "too many old workers still draining")
		h.pass(time.Hour)
		h.serve(2, 2)
	})
}

// An exit status that cannot be had is not a good one.
func TestStatusUnknown(t *testing.T) {
	started(t, "workers = 1", func(h *harness) {
		p := h.worker(1)
		p.reap = syscall.ECHILD
		h.die(p, proc.Exit{})
		h.logged("worker 1 (pid ", "ended: ", "unknown")
		h.pass(time.Minute)
		h.serve(1, 1)
	})
}
