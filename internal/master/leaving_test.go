package master

import (
	"context"
	"syscall"
	"testing"
	"time"

	"fugue/internal/control"
)

// The second half of a restart is the successor's, and of the one after it if
// that dies in it: the new release is what the restart was asked for.
func TestRestartIsFinishedByWhoeverComes(t *testing.T) {
	started(t, "workers = 2", func(h *harness) {
		h.m.opts.Unit = "web.service"
		h.with(func() {
			h.world.leave = true
			h.job = func(context.Context) (string, error) { return "restart", nil }
		})
		h.deploy("v2", manner{ready: 5 * time.Second})
		h.signal(syscall.SIGTERM)
		if err := h.wait(); err != nil {
			t.Fatal(err)
		}
		h.over = false
		h.serveStill(2)
		for range 2 {
			h.succeed(false)
			h.pass(time.Second)
			h.state(control.StateReloading)
			h.heard("READY=1", 0)
			h.kill9()
			h.forget()
		}
		h.succeed(false)
		h.pass(time.Minute)
		h.state(control.StateRunning)
		h.heard("READY=1", 1)
		for _, p := range h.alive(0) {
			if p.manner.ready != 5*time.Second {
				t.Errorf("process %d is of the old release", p.pid)
			}
		}
		h.kill9() // and a death after it deploys nothing
		h.deploy("v3", good)
		h.succeed(false)
		h.pass(time.Minute)
		for _, p := range h.alive(0) {
			if p.manner.ready != 5*time.Second {
				t.Errorf("process %d is of a release that nobody asked for", p.pid)
			}
		}
	})
}

// serveStill checks that n workers live that nobody has told to stop.
func (h *harness) serveStill(n int) {
	h.Helper()
	if got := len(h.alive(0)); got != n {
		h.Errorf("%d workers live, want %d; %s", got, n, h.tale())
	}
}
