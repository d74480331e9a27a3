package master

import (
	"os"

	"fugue/activation"
)

// dir is where the sockets of a scene are; its path is short enough for one.
func (h *harness) dir() string {
	h.Helper()
	if h.socketDir == "" {
		dir, err := os.MkdirTemp("", "f")
		if err != nil {
			h.Fatal(err)
		}
		h.Cleanup(func() { _ = os.RemoveAll(dir) })
		h.socketDir = dir
	}
	return h.socketDir
}

// listen gives the next release unix sockets of these names.
func (h *harness) listen(names ...string) {
	dir := h.dir()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.specs = nil
	for _, name := range names {
		h.specs = append(h.specs, activation.Spec{Name: name, Stream: dir + "/" + name})
	}
}
