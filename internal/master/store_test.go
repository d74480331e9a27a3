package master

import (
	"testing"

	"fugue/internal/control"
)

// A store that is too small is said where people look, until it is not.
func TestStoreTooSmall(t *testing.T) {
	started(t, "workers = 2", func(h *harness) {
		h.m.report(storeChecked{want: 5, limit: 3})
		s := h.state(control.StateRunning)
		if len(s.Notes) != 1 {
			t.Fatalf("notes: %q", s.Notes)
		}
		h.mentions(s.Notes[0], "keeps 3", "5 are needed", "FileDescriptorStoreMax=5")
		h.heard("STATUS=running: 2 of 2 workers ready, generation 1; systemd keeps 3 descriptors", 1)
		h.logged("FileDescriptorStoreMax=5")
		h.m.report(storeChecked{want: 5, limit: 5})
		if s := h.state(control.StateRunning); len(s.Notes) != 0 {
			t.Errorf("notes: %q", s.Notes)
		}
		h.heard("STATUS=running: 2 of 2 workers ready, generation 1", 2)
	})
}
