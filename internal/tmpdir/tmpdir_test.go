package tmpdir

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func base(t *testing.T) (Base, string) {
	t.Helper()
	dir := t.TempDir()
	return At(filepath.Join(dir, "tmp")), dir
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func names(t *testing.T, dir string) string {
	t.Helper()
	list, err := os.ReadDir(dir)
	must(t, err)
	var all []string
	for _, e := range list {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}

func TestMadeForOneUserAlone(t *testing.T) {
	old := unix.Umask(0o777)
	defer unix.Umask(old)
	b, dir := base(t)
	path, err := b.Make(3, 65534, 65533)
	must(t, err)
	other, err := b.Make(3, -1, -1)
	must(t, err)
	if filepath.Dir(path) != filepath.Join(dir, "tmp") || !strings.HasPrefix(filepath.Base(path), "3.") || other == path {
		t.Error(path, other)
	}
	for path, want := range map[string][3]uint32{
		path: {65534, 65533, 0o700}, other: {0, 0, 0o700}, filepath.Join(dir, "tmp"): {0, 0, 0o711},
	} {
		var st unix.Stat_t
		must(t, unix.Lstat(path, &st))
		if got := [3]uint32{st.Uid, st.Gid, st.Mode & 0o7777}; got != want {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
	must(t, Remove(path))
	if got := names(t, filepath.Join(dir, "tmp")); got != filepath.Base(other) {
		t.Errorf("left: %s", got)
	}
	must(t, Remove(other), Remove(other))
	if got := names(t, dir); got != "" {
		t.Errorf("left: %s", got)
	}
}

// What a worker leaves is removed, whatever it is, and nothing that it only
// points to.
func TestNothingElseIsRemoved(t *testing.T) {
	b, dir := base(t)
	victim := filepath.Join(dir, "victim")
	must(t, os.MkdirAll(victim+"/sub", 0o755), os.WriteFile(victim+"/sub/file", []byte("x"), 0o644))
	path, err := b.Make(1, -1, -1)
	must(t, err)
	sub := filepath.Join(path, "sub")
	must(t, os.MkdirAll(sub+"/a/b", 0o755), os.MkdirAll(path+"/.fugue-1/x", 0o755), os.WriteFile(path+"/.fugue-2", nil, 0o644),
		os.Symlink(victim, path+"/link"), os.Symlink(victim+"/sub", sub+"/a/link"), os.Symlink("..", sub+"/up"),
		os.Link(victim+"/sub/file", sub+"/a/hard"), unix.Mkfifo(sub+"/fifo", 0o600), os.WriteFile(sub+"/a/b/c", nil, 0), os.Chmod(sub, 0))
	must(t, Remove(path))
	if got := names(t, dir); got != "victim" {
		t.Errorf("left: %s", got)
	}
	if b, err := os.ReadFile(victim + "/sub/file"); string(b) != "x" {
		t.Errorf("%q, %v", b, err)
	}
}

// A symlink in the place of the directory, or of the base, leads nowhere.
func TestSymlinkInItsPlace(t *testing.T) {
	b, dir := base(t)
	victim := filepath.Join(dir, "victim")
	must(t, os.MkdirAll(victim+"/1.x", 0o755), os.WriteFile(victim+"/1.x/file", nil, 0o644))
	path, err := b.Make(1, -1, -1)
	must(t, err, os.Remove(path), os.Symlink(victim, path), Remove(path))
	if got := names(t, dir); got != "victim" {
		t.Errorf("left: %s", got)
	}
	must(t, os.Symlink(victim, filepath.Join(dir, "tmp")))
	if err := Remove(filepath.Join(dir, "tmp", "1.x")); err == nil {
		t.Error("the base was a symlink")
	}
	if _, err := b.Make(2, -1, -1); err == nil {
		t.Error("made behind a symlink")
	}
	if got := names(t, victim); got != "1.x" {
		t.Errorf("left: %s", got)
	}
}

// A base that somebody else has made, or can write, is not used.
func TestBaseOfAnother(t *testing.T) {
	for name, prepare := range map[string]func(path string) error{
		"owner": func(path string) error { return errors.Join(os.Mkdir(path, 0o711), os.Chown(path, 65534, 65534)) },
		"mode":  func(path string) error { return errors.Join(os.Mkdir(path, 0o711), os.Chmod(path, 0o777)) },
		"file":  func(path string) error { return os.WriteFile(path, nil, 0o600) },
	} {
		b, dir := base(t)
		must(t, prepare(filepath.Join(dir, "tmp")))
		if path, err := b.Make(1, -1, -1); err == nil {
			t.Errorf("%s: made %s", name, path)
		}
		if _, err := b.Others(nil); err == nil {
			t.Errorf("%s: looked into it", name)
		}
	}
}

// A tree deeper than a path is long, and than there are descriptors.
func TestDeepTree(t *testing.T) {
	b, dir := base(t)
	path, err := b.Make(1, -1, -1)
	must(t, err)
	at, err := unix.Open(path, dirFlags, 0)
	must(t, err)
	for range 3000 {
		must(t, unix.Mkdirat(at, "deeper", 0o700))
		next, err := unix.Openat(at, "deeper", dirFlags, 0)
		must(t, err, unix.Close(at))
		at = next
	}
	must(t, unix.Close(at), Remove(path))
	if got := names(t, dir); got != "" {
		t.Errorf("left: %s", got)
	}
}

func TestOthers(t *testing.T) {
	b, _ := base(t)
	if list, err := b.Others(nil); err != nil || len(list) != 0 {
		t.Error(list, err)
	}
	one, err := b.Make(1, -1, -1)
	must(t, err)
	two, err := b.Make(2, -1, -1)
	must(t, err)
	if list, err := b.Others(map[string]bool{one: true, two: false}); err != nil || len(list) != 1 || list[0] != two {
		t.Error(list, err)
	}
}

func TestTrusted(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct {
		mode os.FileMode
		uid  int
		ok   bool
	}{
		"own": {0o755, 0, true}, "sticky": {0o777 | os.ModeSticky, 0, true}, "loose": {0o775, 0, false}, "foreign": {0o755, 65534, false},
	} {
		path := filepath.Join(dir, name)
		must(t, os.Mkdir(path, 0o755), os.Chmod(path, c.mode), os.Chown(path, c.uid, -1))
		if err := Trusted(path); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}
