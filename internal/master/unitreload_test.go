package master

import (
	"testing"
	"time"

	"fugue/internal/control"
)

// systemd is not told of a reload that it asked for: 257 would start no
// successor for a master that dies in it.
func TestReloadBySystemdIsNotAnnounced(t *testing.T) {
	started(t, "workers = 3", func(h *harness) {
		h.deploy("v2", good)
		a := h.ask(func(m *Master) (control.Ticket, error) {
			return m.Reload(h.ctx, control.ReloadRequest{Unit: true})
		})
		h.pass(time.Minute)
		h.expect(a, control.OutcomeOK, 0, "generation 2 serves")
		h.heard("RELOADING=1", 0)
		h.heard("READY=1", 0)
	})
}
