package handover

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func cloexec(t *testing.T, fd int) bool {
	t.Helper()
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	if err != nil {
		t.Fatal(err)
	}
	return flags&unix.FD_CLOEXEC != 0
}

// An exec that fails says why, and every flag is as it was.
func TestExecThatFails(t *testing.T) {
	s, path := create(t)
	with, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(with)
	without, err := unix.Open(path, unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(without)
	keep := []int{with, without}
	for path, want := range badBinaries(t) {
		err := Exec(path, []string{path}, os.Environ(), s.FD(), keep, nil)
		if !errors.Is(err, want) && !(filepath.Base(path) == "header" && errors.Is(err, unix.EIO)) ||
			!strings.Contains(err.Error(), "exec "+path) {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
		if !cloexec(t, with) || cloexec(t, without) || !cloexec(t, s.FD()) {
			t.Errorf("%s: flags changed", path)
		}
	}
	if err := Exec(exeName(t), nil, nil, s.FD(), []int{with, 9999}, nil); !errors.Is(err, unix.EBADF) || !strings.Contains(err.Error(), "descriptor 9999") {
		t.Error(err)
	}
	if !cloexec(t, with) {
		t.Error("flags changed")
	}
	if !slices.Equal(keep, []int{with, without}) {
		t.Error(keep)
	}
}

// execs is a process that becomes itself once.
func execs() int {
	role, err := FromEnv(os.LookupEnv, os.Unsetenv)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	if role.Kind == FirstStart {
		s, err := Create(os.Getenv("STATE"))
		if err != nil {
			fmt.Println(err)
			return 1
		}
		null, _ := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		lost, _ := unix.Open("/dev/zero", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err := s.Write(fmt.Appendf(nil, "%d %d %d", os.Getpid(), null, lost)); err != nil {
			fmt.Println(err)
			return 1
		}
		fmt.Println(Exec("/proc/self/exe", []string{"by a name", "x"}, append(os.Environ(), "B=1"), s.FD(), []int{null}, nil))
		return 1
	}
	s, err := FromFD(role.State)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	b, err := s.Read()
	var pid, null, lost int
	_, _ = fmt.Sscan(string(b), &pid, &null, &lost)
	flags, kept := unix.FcntlInt(uintptr(null), unix.F_GETFD, 0)
	to, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", lost))
	own, _ := unix.FcntlInt(uintptr(role.State), unix.F_GETFD, 0)
	fmt.Println(role.Kind, role.Guard == nil, pid == os.Getpid(), err, flags, kept, to != "/dev/zero", own, os.Args, os.Getenv("B"))
	return 0
}

func TestExec(t *testing.T) {
	p := startRole(t, "execs", "STATE="+filepath.Join(t.TempDir(), "state"))
	if got, want := p.line(t), "resumption true true <nil> 0 <nil> true 1 [by a name x] 1"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestFromEnv(t *testing.T) {
	look := func(v string) (Role, error, bool) {
		env := map[string]string{Variable: v}
		if v == "" {
			clear(env)
		}
		role, err := FromEnv(func(name string) (string, bool) { v, ok := env[name]; return v, ok },
			func(name string) error { delete(env, name); return nil })
		return role, err, len(env) == 0
	}
	null, err := unix.Open("/dev/null", unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(null)
	if got, err, gone := look(""); got != (Role{State: -1}) || err != nil || !gone {
		t.Error(got, err)
	}
	if got, err, gone := look(fmt.Sprintf("rehearse:%d", null)); got != (Role{Kind: Rehearsal, State: null}) || err != nil || !gone || !cloexec(t, null) {
		t.Error(got, err)
	}
	if got, err, _ := look(fmt.Sprintf("resume:%d", null)); got != (Role{Kind: Resumption, State: null}) || err != nil {
		t.Error(got, err)
	}
	before := fds(os.Getpid())
	for _, v := range []string{"x", "resume", "resume:", "resume:x", "resume:-1", "resume:2", "resume:9999", "rehearse:3,4",
		"resume:3,4", "resume:3,4,5,6", "resume:99999999999", "resume:+3", "Resume:3",
		fmt.Sprintf("resume:%d,%d,1", null, null), // init is not our child
		fmt.Sprintf("resume:%d,%d,0", null, null),
	} {
		if got, err, gone := look(v); err == nil || !strings.Contains(err.Error(), Variable+"=\""+v) || !gone {
			t.Errorf("%s: %+v, %v", v, got, err)
		}
	}
	if n := fds(os.Getpid()); n > before {
		t.Errorf("descriptors: %d, then %d", before, n)
	}
	if _, err := FromEnv(func(string) (string, bool) { return "resume:3", true }, func(string) error { return errors.New("no") }); err == nil {
		t.Error("a variable that stays")
	}
}

func TestBinary(t *testing.T) {
	exe, dir := exeName(t), t.TempDir()
	link := filepath.Join(dir, "current")
	if err := os.Symlink(exe, link); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	t.Setenv("PATH", dir)
	for arg0, want := range map[string]string{
		exe:                                     exe,
		link:                                    link, // a deployment moves it
		"./current":                             link,
		"../" + filepath.Base(dir) + "/current": link,
		"current":                               link, // by PATH
		"/bin/sh":                               exe,  // not what runs here
		"a made up one":                         exe,
		"":                                      exe,
	} {
		if got, err := Binary(arg0); got != want || err != nil {
			t.Errorf("%q: %q, %v", arg0, got, err)
		}
	}
}

// binaryRole says its path, at once and after its file was replaced.
func binaryRole() int {
	fmt.Println(Binary(os.Args[0]))
	if _, err := os.Stdin.Read(make([]byte, 1)); err != nil {
		return 1
	}
	fmt.Println(Binary(os.Args[0]))
	fmt.Println(Binary("made up"))
	return 0
}

// A package upgrade renames a new file over the one that runs.
func TestBinaryThatWasReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fugue")
	contents, err := os.ReadFile(exeName(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, contents, 0o755); err != nil {
		t.Fatal(err)
	}
	p := startFile(t, path, "binary")
	want := path + " <nil>"
	if got := p.line(t); got != want {
		t.Errorf("%q", got)
	}
	if err := os.WriteFile(path+".new", contents, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	if _, err := p.stdin.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got := p.line(t); got != want {
			t.Errorf("%q", got)
		}
	}
}
