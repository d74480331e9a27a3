package master

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"fugue/internal/control"
)

// underSystemd is a pool whose unit systemd restarts.
func underSystemd(t *testing.T, file string, scene func(h *harness)) {
	t.Helper()
	play(t, file, func(h *harness) {
		h.m.opts.Unit = "web.service"
		h.world.leave = true
		h.job = func(context.Context) (string, error) { return "restart", nil }
		h.start()
		h.pass(10 * time.Second)
		h.state(control.StateRunning)
		h.forget()
		scene(h)
		h.job = func(context.Context) (string, error) { return "stop", nil }
	})
}

// restart is systemctl restart.
func (h *harness) restart() {
	h.Helper()
	before := len(h.alive(0))
	h.signal(syscall.SIGTERM)
	if err := <-h.result; err != nil {
		h.Errorf("Run: %v", err)
	}
	synctest.Wait()
	h.remains()
	if got := len(h.alive(0)); got != before {
		h.Errorf("%d workers live of %d after the master has left", got, before)
	}
	h.forget()
	h.succeed(false)
	h.pass(0)
}

// A restart is a takeover and a reload: systemd hears READY=1 when the new
// release serves, and who asked for the stop is told what it was.
func TestRestart(t *testing.T) {
	underSystemd(t, "workers = 2", func(h *harness) {
		h.deploy("v2", good)
		h.floor = 2
		h.restart()
		h.heard("READY=1", 0)
		h.pass(10 * time.Second)
		h.floor = 0
		h.state(control.StateRunning)
		h.serve(2, 2)
		h.heard("READY=1", 1)
		h.heard("RELOADING=1", 0) // of a start systemd wants no such word
		if c, err := h.m.Change(h.ctx, 2); err != nil || c.Kind != kindStop || c.Outcome != control.OutcomeOK {
			t.Errorf("the stop: %+v, %v", c, err)
		}
	})
}

// What was under way is answered by the successor, and the release that the
// file names comes all the same.
func TestRestartDuringReload(t *testing.T) {
	underSystemd(t, "workers = 2", func(h *harness) {
		h.deploy("v2", slowly)
		a, b := h.reload(), h.reload()
		h.pass(time.Second)
		h.deploy("v3", good)
		h.restart()
		h.expect(a, control.OutcomeUndone, control.ExitUndone, "restarted during the rollout")
		h.expect(b, control.OutcomeUndone, control.ExitUndone, "not begun")
		h.pass(10 * time.Second)
		h.heard("READY=1", 1)
		h.state(control.StateRunning)
		h.serve(3, 2)
	})
}

// A restart whose release is bad leaves what serves, and says so until a good
// one comes.
func TestRestartToBadRelease(t *testing.T) {
	for name, bad := range map[string]func(h *harness){
		"broken":  func(h *harness) { h.deploy("v2", broken) },
		"refused": func(h *harness) { h.refusal = errors.New("run the check: no") },
		"file":    func(h *harness) { h.write("workers = \"many\"") },
	} {
		t.Run(name, func(t *testing.T) {
			underSystemd(t, "workers = 2", func(h *harness) {
				bad(h)
				h.floor = 2
				h.restart()
				h.pass(10 * time.Second)
				h.heard("READY=1", 1)
				s := h.state(control.StateDegraded)
				h.mentions(s.Reason, "the restart did not bring the new release: ")
				h.serve(1, 2)
				h.replace() // it outlives this master too
				h.pass(10 * time.Second)
				h.mentions(h.state(control.StateDegraded).Reason, "the restart did not bring the new release: ")
				h.deploy("v3", good)
				h.write("workers = 2")
				h.refusal = nil
				h.expect(h.reload(), control.OutcomeOK, 0)
				h.state(control.StateRunning)
				h.floor = 0
			})
		})
	}
}

// Of a restart that finds a rollout under way, the going back of that one is
// not the end.
func TestBadRestartDuringReload(t *testing.T) {
	underSystemd(t, "workers = 2", func(h *harness) {
		h.deploy("v2", slowly)
		a := h.reload()
		h.pass(time.Second)
		h.deploy("v3", broken)
		h.restart()
		h.expect(a, control.OutcomeUndone, control.ExitUndone)
		h.pass(10 * time.Second)
		h.heard("READY=1", 1)
		h.mentions(h.state(control.StateDegraded).Reason, "the restart did not bring the new release: ", "of generation 3")
	})
}
