package master

import (
	"syscall"
	"testing"
	"time"

	"fugue/internal/control"
)

func TestHUP(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGUSR2} {
		started(t, "workers = 2", func(h *harness) {
			h.deploy("v2", good)
			h.signal(sig)
			h.signal(sig) // one waits
			h.signal(sig) // and is the same
			h.pass(time.Minute)
			h.serve(3, 2)
		})
	}
}

// A reload that is asked for during the start comes after it.
func TestHUPDuringStart(t *testing.T) {
	for _, prepare := range []time.Duration{0, 10 * time.Second} {
		play(t, "workers = 2", func(h *harness) {
			h.with(func() { h.prepare = prepare })
			h.deploy("v1", manner{ready: 5 * time.Second})
			h.start()
			h.pass(time.Second)
			h.signal(syscall.SIGHUP)
			h.deploy("v2", good)
			h.heard("READY=1", 0)
			h.pass(time.Minute)
			h.serve(2, 2)
			h.heard("READY=1", 2)
		})
	}
}

// A terminal that is gone stops the pool; its window may change its size.
func TestTerminal(t *testing.T) {
	started(t, "workers = 2", func(h *harness) {
		for _, sig := range []syscall.Signal{syscall.SIGWINCH, syscall.SIGTTIN, syscall.SIGTTOU} {
			h.signalFrom(sig, false)
		}
		h.signal(syscall.SIGUSR1)
		h.pass(time.Minute)
		h.serve(1, 2)
		h.signalFrom(syscall.SIGHUP, false)
		if err := h.wait(); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func TestTTIN(t *testing.T) {
	started(t, "workers = 1", func(h *harness) {
		h.signal(syscall.SIGTTIN)
		h.signal(syscall.SIGTTIN)
		h.pass(time.Minute)
		h.serve(1, 3)
		for range 5 {
			h.signal(syscall.SIGTTOU)
		}
		h.pass(time.Minute)
		h.serve(1, 0)
		h.state(control.StateRunning)
	})
}

// One that comes before there is a release is no reason to fall over.
func TestTTINBeforeAnything(t *testing.T) {
	play(t, "workers = 2", func(h *harness) {
		h.with(func() { h.prepare = time.Second })
		h.start()
		h.signal(syscall.SIGTTIN)
		h.signal(syscall.SIGWINCH)
		h.pass(time.Minute)
		h.serve(1, 2)
	})
}

// WINCH stops all workers and keeps the wanted number: a reload, a scale or
// TTIN brings them back.
func TestWINCH(t *testing.T) {
	for name, back := range map[string]struct {
		do   func(h *harness)
		gen  int
		have int
	}{
		"reload": {func(h *harness) { h.expect(h.reload(), control.OutcomeOK, 0) }, 2, 3},
		"scale":  {func(h *harness) { h.expect(h.scale(2), control.OutcomeOK, 0) }, 1, 2},
		"TTIN":   {func(h *harness) { h.signal(syscall.SIGTTIN) }, 1, 4},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, "workers = 3", func(h *harness) {
				h.listen("a")
				h.start()
				h.pass(10 * time.Second)
				h.signal(syscall.SIGWINCH)
				h.pass(time.Minute)
				h.serve(1, 0)
				s := h.state(control.StateEmpty)
				h.mentions(s.Reason, "WINCH")
				if s.Wanted != 3 || !h.bound("a") {
					t.Errorf("wanted %d, bound %v", s.Wanted, h.bound("a"))
				}
				back.do(h)
				h.pass(time.Minute)
				h.serve(back.gen, back.have)
				h.state(control.StateRunning)
			})
		})
	}
}

// A reload that is refused brings nothing back, and WINCH waits for nothing.
func TestWINCHAndChanges(t *testing.T) {
	started(t, "workers = 3", func(h *harness) {
		h.with(func() { h.manners["v1"] = manner{ready: time.Minute} })
		a := h.scale(5)
		h.signal(syscall.SIGWINCH)
		h.expect(a, control.OutcomeCancelled, control.ExitUndone)
		h.pass(time.Minute)
		h.serve(1, 0)
		h.write("bad")
		h.expect(h.reload(), control.OutcomeRefused, control.ExitBadInput)
		h.serve(1, 0)
		h.state(control.StateEmpty)
		h.write("workers = 3")
		b := h.reload()
		h.signal(syscall.SIGWINCH)
		h.logged("WINCH: not while another change is under way")
		h.expect(b, control.OutcomeOK, 0)
		h.serve(2, 5)
	})
}
