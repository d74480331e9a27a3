package master

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"fugue/internal/handover"
)

const (
	storedState = "fugue.state"
	stateFile   = "state"
)

// errNothing is why there is no state that is worth a word.
var errNothing = errors.New("nothing was written down")

// findState reads what a predecessor wrote down: in the runtime directory, or
// in what systemd kept for us. It is one file under two names; where the two
// differ the directory has the newer one. The error says what is wrong with
// the state; errNothing is none.
func (h *host) findState() (*saved, error) {
	path := filepath.Join(h.hold.Dir(), stateFile)
	slots, err := handover.Open(path)
	why := errNothing
	if err == nil {
		var s *saved
		if s, err = readState(slots, h.name); err == nil {
			h.slots = slots
			return s, nil
		}
		_ = slots.Close()
	}
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, handover.ErrEmpty) {
		why = err
	}
	var found *saved
	for _, in := range h.takeInherited(func(n string) bool { return n == storedState }) {
		slots, err := handover.FromFD(in.FD)
		if err != nil {
			_ = unix.Close(in.FD)
			continue
		}
		if s, err := readState(slots, h.name); err == nil && found == nil {
			found = s
		} else if err != nil && !errors.Is(err, handover.ErrEmpty) {
			why = err
		}
		_ = slots.Close()
	}
	if found != nil {
		return found, nil
	}
	return nil, why
}

func readState(slots *handover.Slots, name string) (*saved, error) {
	b, err := slots.Read()
	if err != nil {
		return nil, err
	}
	s, err := decode(b, name)
	if err != nil {
		return nil, err
	}
	if s.Boot != bootID() {
		return nil, handover.ErrEmpty // of a machine that was off since
	}
	return s, nil
}

// bootID names this boot of the kernel, see proc_sys_kernel(5).
func bootID() string {
	b, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b))
}

// openState makes the place where our own state goes: that of a predecessor
// where it can be used, so that there is one to read at every instant.
func (h *host) openState() error {
	// One that was opened by its path is to systemd another than the one it
	// has, and would be kept beside it: one more with each master.
	for _, in := range h.takeInherited(func(n string) bool { return n == storedState }) {
		_ = unix.Close(in.FD)
	}
	if h.slots == nil {
		slots, err := handover.Create(filepath.Join(h.hold.Dir(), stateFile))
		if err != nil {
			return err
		}
		h.slots = slots
	}
	// In between it is only in the directory, which outlives us as well.
	if err := h.systemd.RemoveFD(storedState); err != nil {
		return err
	}
	return h.systemd.StoreFD(storedState, h.slots.FD(), false)
}

// Save implements World.
func (h *host) Save(news []byte, whole func() ([]byte, error)) error {
	if len(news) > 0 && len(news) <= h.slots.Room() {
		return h.slots.Append(news)
	}
	state, err := whole()
	if err != nil {
		return err
	}
	return h.slots.Write(state)
}
