package sweep

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"fugue/internal/systemd"
)

func TestOneHasTheLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "l")
	first, err := tryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tryLock(path); !errors.Is(err, errCared) {
		t.Fatalf("a second one: %v", err)
	}
	// The right passes with the descriptor, as to a child.
	fd, err := unix.FcntlInt(uintptr(first.fd), unix.F_DUPFD_CLOEXEC, 10)
	if err != nil {
		t.Fatal(err)
	}
	first.pass()
	if _, err := tryLock(path); !errors.Is(err, errCared) {
		t.Fatalf("beside the child: %v", err)
	}
	child, err := resume(path, fd)
	if err != nil {
		t.Fatal(err)
	}
	child.release()
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is left: %v", err)
	}
	again, err := tryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	// A file that was replaced is not taken away with the right to the old.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	other, err := tryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	again.release()
	if _, err := tryLock(path); !errors.Is(err, errCared) {
		t.Errorf("the other's lock: %v", err)
	}
	other.release()
	if _, err := resume(path, 0); err == nil {
		t.Error("a descriptor that is no lock was taken for one")
	}
}

func TestLockPath(t *testing.T) {
	env := func(of map[string]string) func(string) string { return func(key string) string { return of[key] } }
	for _, c := range []struct {
		env  map[string]string
		euid int
		want string
	}{
		{map[string]string{"RUNTIME_DIRECTORY": "/run/fugue/web"}, 0, "/run/fugue-caretaker.web.service.lock"},
		{map[string]string{"RUNTIME_DIRECTORY": "/run/fugue/web:/run/x"}, 65534, "/run/fugue/web/fugue-caretaker.web.service.lock"},
		{map[string]string{"XDG_RUNTIME_DIR": "/run/user/7"}, 7, "/run/user/7/fugue-caretaker.web.service.lock"},
		{nil, 7, ""},
	} {
		got, err := lockPath(env(c.env), c.euid, "web.service")
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("uid %d, %v: %q, %v", c.euid, c.env, got, err)
		}
	}
}

// Only a unit that is down with nothing to come is at rest, and only a start
// under way or done makes a caretaker needless.
func TestRestingAndSucceeded(t *testing.T) {
	for _, c := range []struct {
		systemd.Answer
		resting, succeeded bool
	}{
		{systemd.Answer{Active: "inactive", Sub: "dead"}, true, false},
		{systemd.Answer{Active: "failed", Sub: "failed"}, true, false},
		{systemd.Answer{Active: "inactive", Sub: "dead", Job: "start"}, false, false},
		{systemd.Answer{Active: "activating", Sub: "auto-restart"}, false, false},
		{systemd.Answer{Active: "activating", Sub: "start-pre"}, false, false},
		{systemd.Answer{Active: "activating", Sub: "start", Job: "start"}, false, true},
		{systemd.Answer{Active: "active", Sub: "running"}, false, true},
		{systemd.Answer{Active: "reloading", Sub: "reload", Job: "reload"}, false, true},
		{systemd.Answer{Active: "deactivating", Sub: "stop-post"}, false, false},
		{systemd.Answer{}, false, false},
	} {
		if c.Resting() != c.resting || succeeded(c.Answer) != c.succeeded {
			t.Errorf("%+v: resting %v, succeeded %v", c.Answer, c.Resting(), succeeded(c.Answer))
		}
	}
}
