package proc

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A log file is opened by the worker, with its rights, and nothing else is.
func TestLogFiles(t *testing.T) { bothWays(t, testLogFiles) }

func testLogFiles(t *testing.T) {
	dir, err := os.MkdirTemp("", "f")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	own, closed := filepath.Join(dir, "own"), filepath.Join(dir, "closed")
	secret := filepath.Join(closed, "secret")
	err = errors.Join(os.Chmod(dir, 0o755), os.Mkdir(own, 0o755), os.Chown(own, 65534, 65534), os.Mkdir(closed, 0o755),
		os.WriteFile(secret, nil, 0o600))
	for name, target := range map[string]string{"link": secret, "dangling": filepath.Join(closed, "new"), "tty": "/dev/null"} {
		err = errors.Join(err, os.Symlink(target, filepath.Join(own, name)))
	}
	err = errors.Join(err, os.Mkdir(filepath.Join(own, "dir"), 0o755), unix.Mkfifo(filepath.Join(own, "fifo"), 0o666),
		unix.Mkfifo(filepath.Join(own, "read"), 0o666), os.Chmod(filepath.Join(own, "read"), 0o666), os.Chmod(filepath.Join(own, "fifo"), 0o666),
		os.WriteFile(filepath.Join(own, "root"), nil, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	reader, err := unix.Open(filepath.Join(own, "read"), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(reader)

	s := spec("/bin/sh", "-c", "echo out; echo err >&2; readlink /proc/$$/fd/2; exec ls /proc/self/fd")
	s.Plan.Env = []string{"PATH=/usr/bin:/bin"}
	s.Plan.UID, s.Plan.GID, s.Plan.Umask = 65534, 65534, 0o027
	s.Plan.Stdout, s.Plan.Stderr = filepath.Join(own, "log"), filepath.Join(own, "log")
	r := start(t, s)
	r.up()
	if got := r.wait(); !got.Success() {
		t.Error(got)
	}
	b, err := os.ReadFile(s.Plan.Stdout)
	if want := "out\nerr\n" + s.Plan.Stderr + "\n0\n1\n2\n3\n"; err != nil || string(b) != want {
		t.Errorf("%q, %v; want %q", b, err, want)
	}
	var st unix.Stat_t
	if err := unix.Stat(s.Plan.Stdout, &st); err != nil || st.Uid != 65534 || st.Mode&0o777 != 0o640 {
		t.Errorf("the file is of user %d and has mode %o", st.Uid, st.Mode)
	}

	for path, want := range map[string]syscall.Errno{
		filepath.Join(own, "link"): syscall.ELOOP, filepath.Join(own, "dangling"): syscall.ELOOP, filepath.Join(own, "tty"): syscall.ELOOP,
		filepath.Join(own, "dir"): syscall.EISDIR, filepath.Join(own, "fifo"): syscall.ENXIO, filepath.Join(own, "read"): syscall.ESPIPE,
		filepath.Join(own, "root"): syscall.EACCES, filepath.Join(closed, "new"): syscall.EACCES, filepath.Join(own, "none", "x"): syscall.ENOENT,
		"/dev/null": syscall.ESPIPE,
	} {
		s.Plan.Stdout, s.Plan.Stderr = "", path
		r := start(t, s)
		var failed *LaunchError
		if err := <-r.launched; !errors.As(err, &failed) || failed.Errno != want || !strings.Contains(failed.Step, path+" for standard error") {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
		r.await()
	}
	if st, err := os.Stat(secret); err != nil || st.Size() != 0 {
		t.Errorf("something was written through a link: %v, %v", st, err)
	}
	if _, err := os.Stat(filepath.Join(closed, "new")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file was made through a link: %v", err)
	}
}
