package pidfile

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func place(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "web.pid")
}

func create(t *testing.T, path string) *File {
	t.Helper()
	f, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func want(t *testing.T, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	info, _ := os.Stat(path)
	if want := fmt.Sprintln(os.Getpid()); err != nil || string(text) != want || info.Mode() != 0o644 {
		t.Errorf("%s: %q, %v; want %q", path, text, err, want)
	}
	if left, _ := filepath.Glob(filepath.Dir(path) + "/.*"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestCreateAndRemove(t *testing.T) {
	path := place(t)
	defer unix.Umask(unix.Umask(0o077))
	f := create(t, path)
	want(t, path)
	f.Remove()
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("it is left: %v", err)
	}
}

func TestStaleIsReplaced(t *testing.T) {
	for _, text := range []string{"4194304\n", "1\n", ""} { // a lock tells, and not whether the number lives
		path := place(t)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		f := create(t, path)
		want(t, path)
		f.Remove()
	}
}

func TestStrangersFileStays(t *testing.T) {
	path := place(t)
	f := create(t, path)
	other := path + ".other"
	if err := os.WriteFile(other, []byte("7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(other, path); err != nil {
		t.Fatal(err)
	}
	f.Remove()
	if text, err := os.ReadFile(path); string(text) != "7\n" {
		t.Errorf("%q, %v", text, err)
	}
}

func TestCrossesAnExec(t *testing.T) {
	path := place(t)
	f := create(t, path)
	fd, err := unix.Dup(f.FD()) // the same description, as over an exec
	if err != nil {
		t.Fatal(err)
	}
	g, err := Resume(path, fd)
	if err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(f.FD())
	if _, err := Create(path); err == nil {
		t.Error("the lock is lost")
	}
	want(t, path)
	g.Remove()
	if _, err := Resume(path, fd); err == nil {
		t.Error("a descriptor that is closed is taken up")
	}
}

func TestRefused(t *testing.T) {
	for name, c := range map[string]struct {
		make func(path string) error
		want string
	}{
		"held": {func(path string) error {
			_, err := Create(path)
			return err
		}, fmt.Sprintf("process %d holds it", os.Getpid())},
		"link":      {func(path string) error { return os.Symlink(filepath.Join(filepath.Dir(path), "x"), path) }, "symbolic link"},
		"fifo":      {func(path string) error { return unix.Mkfifo(path, 0o600) }, "not a regular file"},
		"directory": {func(path string) error { return os.Mkdir(path, 0o700) }, "directory"},
		"text":      {func(path string) error { return os.WriteFile(path, []byte("root:x:0:0\n"), 0o600) }, "no PID file"},
		"long":      {func(path string) error { return os.WriteFile(path, []byte(strings.Repeat("1", 99)), 0o600) }, "no PID file"},
		"no place":  {func(path string) error { return os.Remove(filepath.Dir(path)) }, "there is no directory"},
		"everybody's place": {func(path string) error { return os.Chmod(filepath.Dir(path), 0o777) },
			"can be written by others"},
	} {
		t.Run(name, func(t *testing.T) {
			path := place(t)
			if err := c.make(path); err != nil {
				t.Fatal(err)
			}
			if err := Check(path); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Check: %v, want %q", err, c.want)
			}
			f, err := Create(path)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v %v, want %q", f, err, c.want)
			}
			if left, _ := filepath.Glob(filepath.Dir(path) + "/.*"); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

// However many come at once, with a stale one there or none, one has it.
func TestOneOfMany(t *testing.T) {
	for round := range 50 {
		path := place(t)
		if round%2 == 0 {
			if err := os.WriteFile(path, []byte("9\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		// Each in a process of its own has a name of its own to prepare; here
		// they take turns in that, and compete for the path.
		var all sync.WaitGroup
		got := make(chan *File, 8)
		for n := range 8 {
			all.Go(func() {
				own, beside, err := prepare(filepath.Join(filepath.Dir(path), fmt.Sprint(n)))
				if err != nil {
					t.Error(err)
					return
				}
				own.path = path
				if install(own, beside) == nil {
					got <- own
				}
			})
		}
		all.Wait()
		if len(got) != 1 {
			t.Fatalf("round %d: %d have it", round, len(got))
		}
		f := <-got
		want(t, path)
		f.Remove()
	}
}
