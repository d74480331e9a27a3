package control

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func env(pairs ...string) func(string) string {
	return func(key string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == key {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func TestDir(t *testing.T) {
	for _, c := range []struct {
		name, runtime, xdg string
		euid               int
		pool               string
		want, wantErr      string
	}{
		{name: "root", pool: "web", want: "/run/fugue/web"},
		{name: "user", euid: 7, xdg: "/run/user/7", pool: "web", want: "/run/user/7/fugue/web"},
		{name: "unit", euid: 7, runtime: "/run/fugue/web", pool: "web", want: "/run/fugue/web"},
		{name: "one of several", euid: 7, runtime: "/run/other:/run/fugue/web:/run/fugue/x", pool: "web", want: "/run/fugue/web"},
		{name: "none that fits", runtime: "/run/web:/run/fugue/webb", pool: "web", want: "/run/fugue/web"},
		{name: "relative", euid: 7, runtime: "fugue/web", xdg: "x", pool: "web", wantErr: "RuntimeDirectory=fugue/web"},
		{name: "nothing", euid: 7, pool: "web", wantErr: "add RuntimeDirectory=fugue/web to the [Service] section"},
		{name: "path", pool: "../etc", wantErr: "cannot be the name"},
		{name: "dot", pool: ".", wantErr: "cannot be the name"},
		{name: "empty", pool: "", wantErr: "cannot be the name"},
		{name: "long", pool: strings.Repeat("x", 65), wantErr: "between 1 and 64"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Dir(env("RUNTIME_DIRECTORY", c.runtime, "XDG_RUNTIME_DIR", c.xdg), c.euid, c.pool)
			if got != c.want || (err == nil) != (c.wantErr == "") || err != nil && !strings.Contains(err.Error(), c.wantErr) {
				t.Errorf("got %q, %v; want %q, %q", got, err, c.want, c.wantErr)
			}
		})
	}
}

func TestLockMakesDirectoryWhateverTheUmask(t *testing.T) {
	defer unix.Umask(unix.Umask(0o077))
	dir := filepath.Join(t.TempDir(), "fugue", "web")
	h, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Release()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if fi, err := os.Stat(d); err != nil || fi.Mode().Perm() != 0o755 {
			t.Errorf("%s: %v, %v", d, fi.Mode(), err)
		}
	}
}

func TestLockRefusesDirectoryOfOthers(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(parent, dir string) error
		want string
	}{
		{"another owner", func(_, dir string) error { return os.Chown(dir, 65534, -1) }, "belongs to uid 65534"},
		{"parent of another", func(p, _ string) error { return os.Chown(p, 65534, -1) }, "belongs to uid 65534"},
		{"writable", func(_, dir string) error { return os.Chmod(dir, 0o775) }, "can be written by others (mode 0775)"},
		{"a file", func(_, dir string) error {
			os.Remove(dir)
			return os.WriteFile(dir, nil, 0o600)
		}, "is not a directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			parent := filepath.Join(t.TempDir(), "fugue")
			dir := filepath.Join(parent, "web")
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := c.do(parent, dir); err != nil {
				t.Fatal(err)
			}
			h, err := Lock(dir)
			if err == nil {
				h.Release()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestLockFollowsTheSymlinkOfDynamicUser(t *testing.T) {
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "private"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("private", filepath.Join(root, "web")); err != nil {
		t.Fatal(err)
	}
	h, err := Lock(filepath.Join(root, "web"))
	if err != nil {
		t.Fatal(err)
	}
	h.Release()
}

// asHolder locks a directory and holds it until it is killed.
func asHolder(dir string) int {
	if _, err := Lock(dir); err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("locked")
	io.Copy(io.Discard, os.Stdin)
	return 0
}

func TestLockEndsWithItsHolder(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "web")
	f := Finder{Roots: []string{root}}
	if _, err := f.Dial("web"); exitOf(err) != ExitNoPool {
		t.Errorf("before: %v", err)
	}
	cmd := child(t, nil, "as-holder", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "locked\n" {
		t.Fatalf("holder: %q, %v", line, err)
	}

	_, err = Lock(dir)
	if want := fmt.Sprintf("pool web runs already (pid %d)", cmd.Process.Pid); err == nil || err.Error() != want {
		t.Errorf("second pool: %v, want %s", err, want)
	}
	// Asking must not take: were it so, the Lock after it would be refused.
	if e, err := f.Find("web"); err != nil || !e.Running || e.PID != cmd.Process.Pid {
		t.Errorf("find: %+v, %v", e, err)
	}

	cmd.Process.Kill()
	cmd.Wait()
	if _, err := f.Dial("web"); exitOf(err) != ExitNotRunning {
		t.Errorf("after its death: %v", err)
	}
	h, err := Lock(dir)
	if err != nil {
		t.Fatalf("after its death: %v", err)
	}
	h.Release()
}

// A lock of the process (F_SETLK) would be lost when anything in the process
// closes the file, as looking for pools does.
func TestLockHoldsWithinItsProcess(t *testing.T) {
	root := t.TempDir()
	h := lockDir(t, filepath.Join(root, "web"))
	if e, err := (Finder{Roots: []string{root}}).Find("web"); err != nil || !e.Running {
		t.Errorf("find: %+v, %v", e, err)
	}
	if second, err := Lock(h.Dir()); err == nil {
		second.Release()
		t.Error("locked twice")
	}
}

// asExec locks, then executes this binary again with the lock's descriptor.
func asExec(dir string) int {
	h, err := Lock(dir)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	if _, err := unix.FcntlInt(uintptr(h.FD()), unix.F_SETFD, 0); err != nil {
		fmt.Println(err)
		return 1
	}
	err = syscall.Exec("/proc/self/exe", []string{"fugue", "as-successor", dir, strconv.Itoa(h.FD())}, os.Environ())
	fmt.Println(err)
	return 1
}

func asSuccessor(dir, number string) int {
	fd, _ := strconv.Atoi(number)
	h, err := Resume(fd, dir)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	flags, _ := unix.FcntlInt(uintptr(h.FD()), unix.F_GETFD, 0)
	fmt.Println("resumed, close-on-exec", flags&unix.FD_CLOEXEC != 0)
	io.Copy(io.Discard, os.Stdin)
	return 0
}

func TestLockSurvivesExec(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "web")
	cmd := child(t, nil, "as-exec", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "resumed, close-on-exec true\n" {
		t.Errorf("successor: %q, %v", line, err)
	}
	_, err = Lock(dir)
	if want := fmt.Sprintf("(pid %d)", cmd.Process.Pid); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("second pool: %v, want %s", err, want)
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func TestResumeRefusesAnotherFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "web")
	h, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Release()
	os.Remove(filepath.Join(dir, "lock"))
	if _, err := Resume(h.FD(), dir); err == nil {
		t.Error("resumed a lock whose file is gone")
	}
}

func TestFinder(t *testing.T) {
	system, user, etc := t.TempDir(), t.TempDir(), t.TempDir()
	for _, d := range []string{"both", "idle", "not a name"} {
		if err := os.Mkdir(filepath.Join(system, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(etc, "known.toml"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	h, err := Lock(filepath.Join(user, "both"))
	if err != nil {
		t.Fatal(err)
	}
	defer h.Release()
	f := Finder{Roots: []string{system, user, filepath.Join(user, "missing")}, Etc: etc}
	all := f.Pools()
	want := fmt.Sprintf("[{both %s true %d} {idle %s false 0} {known  false 0}]", h.Dir(), os.Getpid(), filepath.Join(system, "idle"))
	var got []string
	for _, e := range all {
		got = append(got, fmt.Sprintf("{%s %s %v %d}", e.Name, e.Dir, e.Running, e.PID))
	}
	if g := "[" + strings.Join(got, " ") + "]"; g != want {
		t.Errorf("got  %s\nwant %s", g, want)
	}
	for name, exit := range map[string]int{"idle": ExitNotRunning, "known": ExitNotRunning, "none": ExitNoPool, "a/b": ExitUsage} {
		if _, err := f.Dial(name); exitOf(err) != exit {
			t.Errorf("%s: %v, want exit %d", name, err, exit)
		}
	}
}

// A directory that may not be entered hides no other pool.
func TestFinderPastAClosedDoor(t *testing.T) {
	root := shortDir(t)
	for name, mode := range map[string]os.FileMode{"closed": 0o700, "open": 0o755} {
		lockDir(t, filepath.Join(root, name))
		if err := os.Chmod(filepath.Join(root, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	out, err := child(t, &syscall.Credential{Uid: 65534, Gid: 65534}, "as-finder", root).Output()
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("closed false 77\nopen true %d\n", os.Getpid())
	if string(out) != want {
		t.Errorf("got %s, want %s", out, want)
	}
}

// asFinder prints the pools below a root.
func asFinder(root string) int {
	for _, e := range (Finder{Roots: []string{root}}).Pools() {
		number := e.PID
		if e.Err != nil {
			number = exitOf(e.Err)
		}
		fmt.Println(e.Name, e.Running, number)
	}
	return 0
}

func TestNewFinder(t *testing.T) {
	for _, c := range []struct {
		runtime, xdg string
		euid         int
		want         string
	}{
		{want: "/run/fugue"},
		{xdg: "/u", want: "/run/fugue /u/fugue"},
		{xdg: "/u", euid: 7, want: "/u/fugue /run/fugue"},
		{runtime: "/r/fugue/web:/run/fugue/x", want: "/r/fugue /run/fugue"},
	} {
		f := NewFinder(env("RUNTIME_DIRECTORY", c.runtime, "XDG_RUNTIME_DIR", c.xdg), c.euid)
		if got := strings.Join(f.Roots, " "); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}
