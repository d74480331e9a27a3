package logs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"fugue/internal/loadtest"
)

// plantation has what a worker's user can put in the place of a log file.
func plantation(t *testing.T) (dir, secret string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "f")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	secret = filepath.Join(dir, "secret")
	own := filepath.Join(dir, "own")
	at := func(name string) string { return filepath.Join(own, name) }
	err = errors.Join(os.Chmod(dir, 0o755), os.WriteFile(secret, nil, 0o600), os.Mkdir(own, 0o755), os.Chown(own, 65534, 65534),
		os.Symlink(secret, at("link")), os.Symlink(filepath.Join(dir, "new"), at("dangling")), os.Mkdir(at("dir"), 0o755),
		unix.Mkfifo(at("fifo"), 0o666), unix.Mkfifo(at("read"), 0o666), os.Chmod(at("fifo"), 0o666), os.Chmod(at("read"), 0o666),
		os.WriteFile(at("root"), nil, 0o600), os.WriteFile(at("ours"), nil, 0o600), os.Chown(at("ours"), 65534, 65534))
	if err != nil {
		t.Fatal(err)
	}
	reader, err := unix.Open(at("read"), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(reader) })
	return own, secret
}

// A log file is opened with the worker's rights, and nothing that its user can
// put in its place is followed, waited for or written to.
func TestFileTricks(t *testing.T) {
	own, secret := plantation(t)
	nobody := Rights{UID: 65534, GID: 65534}
	up := filepath.Dir(own)
	for path, want := range map[string]error{
		"link": errLink, "dangling": errLink, "fifo": ErrNoFile, "read": ErrNoFile, "root": fs.ErrPermission,
		"ours": nil, "fresh": nil, "none/x": fs.ErrNotExist, "ours/x": syscall.ENOTDIR, "../new": fs.ErrPermission, "../secret": fs.ErrPermission,
		"dir": ErrNoFile,
	} {
		f, err := OpenFile(filepath.Join(own, path), nobody)
		if !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
		if err == nil {
			_ = f.Close()
		}
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(own, "fresh"), &st); err != nil || st.Uid != 65534 || st.Mode&0o777 != 0o640 {
		t.Errorf("a new file is of user %d and has mode %o: %v", st.Uid, st.Mode, err)
	}
	if st, err := os.Stat(secret); err != nil || st.Size() != 0 {
		t.Errorf("written through a link: %v, %v", st, err)
	}
	if _, err := os.Lstat(filepath.Join(up, "new")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("made through a link: %v", err)
	}
	if _, err := os.ReadFile(secret); err != nil {
		t.Errorf("we lost our own rights: %v", err)
	}
}

// A check finds the same without making anything.
func TestCheckFile(t *testing.T) {
	own, _ := plantation(t)
	nobody := Rights{UID: 65534, GID: 65534, Groups: []int{7}}
	for path, want := range map[string]string{
		"link": errLink.Error(), "dangling": errLink.Error(), "fifo": "not a regular file", "read": "not a regular file", "root": "permission denied",
		"ours": "", "fresh": "", "none/x": "no such file or directory (OWN/none)", "ours/x": "not a directory", "../new": "permission denied (UP)",
		"../secret": "permission denied", "dir": "is a directory", "fifo/x": "not a directory",
	} {
		got := ""
		if err := CheckFile(filepath.Join(own, path), nobody); err != nil {
			got = strings.ReplaceAll(strings.ReplaceAll(err.Error(), own, "OWN"), filepath.Dir(own), "UP")
		}
		if got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	if _, err := os.Lstat(filepath.Join(own, "fresh")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the check made a file: %v", err)
	}
	if err := CheckFile(filepath.Join(own, "fresh"), OurRights()); err != nil {
		t.Error(err)
	}
}

// Workers write through one file, which is renamed and opened again under
// them, and crosses to another image in between: not a line is lost or torn,
// and none comes into a file after the reopening that set it aside.
func TestReopenLosesNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	n := loadtest.Scale(250_000) // more than 100 MB in all at full scale
	files := &Files{}
	exe, _ := os.Executable()
	var relays []*Relay
	var waits []func() syscall.WaitStatus
	writers := func() Writers {
		f, err := files.Take(path, OurRights())
		if err != nil {
			t.Fatal(err)
		}
		return Writers{Stdout: f, Stderr: f}
	}
	const workers = 2
	for i := range workers {
		r, err := New(writers(), fmt.Sprintf("web/%d", i+1))
		if err != nil {
			t.Fatal(err)
		}
		_, wait := work(t, r, nil, []string{"FUGUE_TEST=long " + strconv.Itoa(n)}, exe)
		relays, waits = append(relays, r), append(waits, wait)
	}
	aside := 0
	turn := func() {
		if err := os.Rename(path, fmt.Sprintf("%s.%d", path, aside)); err != nil {
			t.Fatal(err)
		}
		aside++
		paths, err := files.Reopen()
		if d := cmp.Diff([]string{path}, paths); d != "" || err != nil {
			t.Fatal(d, err)
		}
		// What was set aside is compressed now, and whoever wrote there later
		// would write into nothing.
		old := fmt.Sprintf("%s.%d", path, aside-1)
		b, err := os.ReadFile(old)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.Remove(old), os.WriteFile(old, b, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	cross := func() {
		var kept []Kept
		for _, r := range relays {
			k, err := r.Detach()
			if err != nil {
				t.Fatal(err)
			}
			kept = append(kept, k)
		}
		fds, err := files.Keep()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files.open { // the exec closes these
			_ = f.Close()
		}
		files = &Files{}
		files.Resume(fds)
		for i, k := range kept {
			r, err := Resume(writers(), fmt.Sprintf("web/%d", i+1), k)
			if err != nil {
				t.Fatal(err)
			}
			relays[i] = r
		}
		files.Settle()
	}
	for i := range 60 {
		turn()
		if i%5 == 0 {
			cross()
		}
	}
	for i, wait := range waits {
		if ws := wait(); ws.ExitStatus() != 0 {
			t.Errorf("status %#x", ws)
		}
		end(t, relays[i])
	}
	all := &bytes.Buffer{}
	for i := range aside + 1 {
		name := path
		if i < aside {
			name = fmt.Sprintf("%s.%d", path, i)
		}
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b)
	}
	t.Logf("%d bytes in %d files", all.Len(), aside+1)
	for i := range workers {
		s := newSink()
		for line := range strings.Lines(all.String()) {
			if text, ok := strings.CutPrefix(line, fmt.Sprintf("web/%d | ", i+1)); ok {
				s.b.WriteString("web/1 | " + strings.Replace(text, padding, "", 1))
			} else if !strings.HasPrefix(line, "web/") {
				t.Fatalf("torn: %q", line)
			}
		}
		checkAll(t, s, n)
	}
}

// What cannot be opened again stays open.
func TestReopenThatFails(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "log")
	files := &Files{}
	f, err := files.Take(path, OurRights())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Rename(path, path+".1"), os.Mkdir(path, 0o755)); err != nil {
		t.Fatal(err)
	}
	if paths, err := files.Reopen(); len(paths) > 0 || !errors.Is(err, ErrNoFile) {
		t.Errorf("%q, %v", paths, err)
	}
	if _, err := f.Write([]byte("on\n")); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(path + ".1"); err != nil || string(b) != "on\n" {
		t.Errorf("%q, %v", b, err)
	}
	files.Leave(f)
	if len(files.open) != 0 {
		t.Errorf("left open: %v", files.open)
	}
	if err := errors.Join(os.Remove(path), f.Reopen()); err != nil { // a reopening that comes late
		t.Error(err)
	}
}
