package master

import (
	"fmt"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"fugue/activation"
	"fugue/internal/control"
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

// bound reports that a client is let in.
func (h *harness) bound(name string) bool {
	conn, err := net.Dial("unix", h.dir()+"/"+name)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// noFiles checks that no socket is left behind.
func (h *harness) noFiles() {
	h.Helper()
	left, err := os.ReadDir(h.dir())
	if err != nil || len(left) > 0 {
		h.Errorf("left behind: %v, %v", left, err)
	}
	if len(h.storedNow()) > 0 {
		h.Errorf("left in the fd store: %v", h.storedNow())
	}
}

// listeners are the names of those in status and in the fd store.
func (h *harness) listeners(names ...string) {
	h.Helper()
	var got []string
	for _, l := range h.status().Listeners {
		got = append(got, l.Name)
	}
	slices.Sort(got)
	if !slices.Equal(got, names) {
		h.Errorf("listeners %v, want %v", got, names)
	}
	if len(h.storedNow()) != len(names) {
		h.Errorf("in the fd store: %v, want %v", h.stored, names)
	}
	for _, name := range names {
		if !h.bound(name) {
			h.Errorf("nobody listens on %s", name)
		}
	}
}

// Sockets come with the release that wants them and go with the last that
// does; a release that fails changes none.
func TestSocketsOfReleases(t *testing.T) {
	play(t, "workers = 2", func(h *harness) {
		h.listen("a", "b")
		h.start()
		h.pass(10 * time.Second)
		h.listeners("a", "b")

		h.listen("b", "c")
		h.deploy("v2", broken)
		h.expect(h.reload(), control.OutcomeUndone, control.ExitUndone)
		h.listeners("a", "b")
		if h.bound("c") {
			t.Error("c is still bound")
		}

		h.deploy("v3", good)
		a := h.reload()
		h.pass(500 * time.Millisecond)
		if !h.bound("a") || !h.bound("c") {
			t.Error("during the reload either socket is needed")
		}
		c := h.expect(a, control.OutcomeOK, 0)
		if len(c.Details) != 2 {
			t.Errorf("details: %q", c.Details)
		}
		h.listeners("b", "c")
		if h.bound("a") {
			t.Error("a is still bound")
		}
		h.signal(15)
		_ = h.wait()
		h.noFiles()
	})
}

// copied is a pool with a TCP listener and a systemd that is slow to forget; the
// next release has another. next makes one more, address says where the i-th is.
func copied(t *testing.T, scene func(h *harness, next func(), address func(i int) string)) {
	t.Helper()
	play(t, "workers = 2\nstop.timeout = \"60s\"", func(h *harness) {
		next := func() {
			h.with(func() {
				h.specs = []activation.Spec{{Name: fmt.Sprint("n", len(h.copies)), Stream: "127.0.0.1:0"}}
			})
		}
		address := func(i int) (a string) {
			h.with(func() { a = h.copies[i].Address })
			return a
		}
		h.with(func() { h.copying = true })
		defer h.with(func() {
			for _, l := range h.copies {
				_ = unix.Close(l.FD)
			}
		})
		next()
		h.deploy("v1", manner{ready: 100 * time.Millisecond, drain: 30 * time.Second})
		h.start()
		h.pass(10 * time.Second)
		h.lets(address(0), true)
		next()
		scene(h, next, address)
	})
}

// When the verdict is there, nobody is let in where nobody serves: the copy that
// systemd has of a listener is not waited for.
func TestRemovedListenerRefusesAtOnce(t *testing.T) {
	copied(t, func(h *harness, _ func(), address func(int) string) {
		h.deploy("v2", broken)
		h.expect(h.reload(), control.OutcomeUndone, control.ExitUndone)
		h.lets(address(0), true)
		h.lets(address(1), false)
	})
	copied(t, func(h *harness, next func(), address func(int) string) {
		h.deploy("v2", good)
		h.expect(h.reload(), control.OutcomeOK, 0)
		h.lets(address(0), true) // workers that drain may still accept what waits there
		next()
		h.deploy("v3", good)
		h.pass(time.Minute)
		h.expect(h.reload(), control.OutcomeOK, 0)
		h.lets(address(1), false)
		h.lets(address(2), true)
	})
}

// A stop in the middle of a reload closes what either release has.
func TestStopDuringReloadClosesAll(t *testing.T) {
	play(t, "workers = 2", func(h *harness) {
		h.listen("a", "b")
		h.start()
		h.pass(10 * time.Second)
		h.listen("b", "c")
		h.deploy("v2", hangs)
		h.reload()
		h.pass(time.Second)
		h.signal(15)
		if err := h.wait(); err != nil {
			t.Error(err)
		}
		h.noFiles()
	})
}

// A failed start leaves no file.
func TestFailedStartLeavesNoFile(t *testing.T) {
	play(t, "workers = 2", func(h *harness) {
		h.listen("a")
		h.deploy("v1", broken)
		h.start()
		if h.wait() == nil {
			t.Error("it came up")
		}
		h.noFiles()
	})
}

// After a rollout that got stuck the workers of both releases have their
// sockets, and the next release may want either.
func TestSocketsOfStuckReload(t *testing.T) {
	for _, want := range [][]string{{"a", "b"}, {"b", "c"}, {"d"}} {
		play(t, "workers = 4", func(h *harness) {
			h.listen("a", "b")
			h.start()
			h.pass(10 * time.Second)
			h.listen("b", "c")
			h.stick()
			h.listeners("a", "b", "c")
			h.listen(want...)
			h.deploy("v3", good)
			h.expect(h.reload(), control.OutcomeOK, 0)
			h.listeners(want...)
			h.signal(15)
			_ = h.wait()
			h.noFiles()
		})
	}
}

// A reload after a stuck one that fails takes back only its own.
func TestUndoneAfterStuck(t *testing.T) {
	play(t, "workers = 4", func(h *harness) {
		h.listen("a")
		h.start()
		h.pass(10 * time.Second)
		h.listen("b")
		h.stick()
		h.listen("c")
		h.deploy("v3", broken)
		h.verdict(h.reload())
		h.listeners("a", "b")
		h.signal(15)
		_ = h.wait()
		h.noFiles()
	})
}
