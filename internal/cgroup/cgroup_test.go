package cgroup

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// top is where the machine's cgroups of version 2 begin.
func top(t *testing.T) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if fields, rest, _ := strings.Cut(line, " - "); strings.HasPrefix(rest, "cgroup2 ") {
			return strings.Fields(fields)[4]
		}
	}
	t.Fatal("no cgroup2 file system is mounted")
	return ""
}

// delegated is a cgroup as systemd leaves it to a service. The processes that
// are started in its part Self have ended when the test has.
func delegated(t *testing.T) Base {
	t.Helper()
	dir, err := os.MkdirTemp(top(t), "fugue-test-")
	if err != nil {
		t.Fatal(err)
	}
	b := Base{Dir: dir, Path: "/" + filepath.Base(dir), Self: "main"}
	t.Cleanup(func() {
		if err := errors.Join(awaitEmpty(dir, time.Now().Add(time.Minute)), removeTree(dir)); err != nil {
			t.Error(err)
		}
	})
	if b.Delegated() {
		t.Error("delegated by nobody")
	}
	if err := unix.Setxattr(dir, "user.delegate", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	if !b.Delegated() {
		t.Error("not delegated")
	}
	if err := os.Mkdir(filepath.Join(dir, b.Self), 0o755); err != nil {
		t.Fatal(err)
	}
	return b
}

// occupy starts a process in a cgroup; it ends when the function is called, or
// the test has ended.
func occupy(t *testing.T, dir string) (pid int, end func()) {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", `echo $$ >"$0/cgroup.procs" && echo in && exec sleep 1000`, dir)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	end = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	t.Cleanup(end)
	if n, err := out.Read(make([]byte, 3)); n != 3 {
		t.Fatal(n, err)
	}
	return cmd.Process.Pid, end
}

func TestLifeOfACgroup(t *testing.T) {
	b := delegated(t)
	path, err := b.Make(3, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	other, err := b.Make(3, Limits{})
	if err != nil || other == path {
		t.Errorf("the same slot again: %q, %v", other, err)
	}
	if !strings.HasPrefix(path, b.Path+"/worker-3.") {
		t.Errorf("path %q", path)
	}
	fd, err := b.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(b.Dir, filepath.Base(path))
	var got, want unix.Stat_t
	if err := errors.Join(unix.Fstat(fd, &got), unix.Stat(dir, &want), unix.Close(fd)); err != nil || got.Ino != want.Ino {
		t.Errorf("another directory is open: %v", err)
	}
	below := filepath.Join(dir, "a", "b")
	if err := os.MkdirAll(below, 0o755); err != nil {
		t.Fatal(err)
	}
	pid, end := occupy(t, below)
	for in, want := range map[string]string{path: path, path + "/a/b": path, b.Path: "", b.Path + "/main": "", "/x" + path: ""} {
		if got := b.Of(in); got != want || Within(in, path) != (want != "") {
			t.Errorf("%q is of %q, want %q", in, got, want)
		}
	}
	if Within("/x", "") {
		t.Error("a worker without a cgroup owns everything")
	}
	if b.OutOfMemory(path) {
		t.Error("out of memory")
	}
	if list, err := b.Others(map[string]bool{other: true}); err != nil || !slices.Equal(list, []string{path}) {
		t.Errorf("others: %v, %v", list, err)
	}

	if err := b.Remove(path, 0); !errors.Is(err, unix.EBUSY) {
		t.Errorf("removed with a process in it: %v", err)
	}
	if err := b.Remove(path, time.Millisecond); !errors.Is(err, unix.EBUSY) {
		t.Errorf("removed with a process in it: %v", err)
	}
	if err := unix.Kill(pid, 0); err != nil {
		t.Errorf("it is gone: %v", err)
	}
	removed := make(chan error, 1)
	go func() { removed <- b.Remove(path, time.Minute) }()
	end()
	if err := <-removed; err != nil {
		t.Error(err)
	}
	for _, path := range []string{other, path, path} { // again is no error
		if err := b.Remove(path, 0); err != nil {
			t.Error(err)
		}
	}
	if list, err := b.Others(nil); err != nil || len(list) > 0 {
		t.Errorf("left: %v, %v", list, err)
	}
}

// A state that somebody has written must not make us touch other cgroups.
func TestOnlyWorkersOwn(t *testing.T) {
	b := delegated(t)
	for _, path := range []string{"", "/", b.Path, b.Path + "/main", b.Path + "/worker-1/../main", "/worker-1.x", b.Path + "x/worker-1"} {
		if err := b.Remove(path, 0); err == nil {
			t.Errorf("removed %q", path)
		}
		if _, err := b.Open(path); err == nil {
			t.Errorf("opened %q", path)
		}
		if b.OutOfMemory(path) {
			t.Errorf("looked into %q", path)
		}
	}
	if _, err := os.Stat(filepath.Join(b.Dir, "main")); err != nil {
		t.Error(err)
	}
}

func TestFiles(t *testing.T) {
	for _, c := range []struct {
		l           Limits
		files       string
		controllers string
	}{
		{Limits{}, "[]", "[]"},
		{Limits{MemoryMax: 1 << 20}, "[{memory memory.max 1048576} {memory memory.oom.group 1}]", "[memory]"},
		{
			Limits{MemoryMax: math.MaxUint64, MemoryHigh: 5, TasksMax: 7, CPUWeight: 20},
			"[{memory memory.high 5} {memory memory.max max} {memory memory.oom.group 1} {pids pids.max 7} {cpu cpu.weight 20}]",
			"[memory pids cpu]",
		},
		{Limits{TasksMax: math.MaxUint64}, "[{pids pids.max max}]", "[pids]"},
	} {
		if files, names := fmt.Sprint(c.l.files()), fmt.Sprint(c.l.controllers()); files != c.files || names != c.controllers {
			t.Errorf("%+v: %s, %s", c.l, files, names)
		}
	}
}

// Each limit is read back from the kernel where it has the controller, and is
// an error where it has not.
func TestLimits(t *testing.T) {
	for _, c := range []struct {
		l          Limits
		controller string
		want       map[string]string
	}{
		{Limits{MemoryMax: 1 << 24, MemoryHigh: math.MaxUint64}, "memory", map[string]string{"memory.max": "16777216", "memory.high": "max", "memory.oom.group": "1"}},
		{Limits{TasksMax: 3}, "pids", map[string]string{"pids.max": "3"}},
		{Limits{CPUWeight: 20}, "cpu", map[string]string{"cpu.weight": "20"}},
	} {
		b := delegated(t)
		there, err := words(filepath.Join(b.Dir, "cgroup.controllers"))
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s of %v", c.controller, there)
		if !slices.Contains(there, c.controller) {
			if _, err := b.Make(1, c.l); !errors.Is(err, ErrNoController) {
				t.Errorf("%+v: %v", c.l, err)
			}
			continue
		}
		// In the way, as what an older master left. The kernel minds it for pids
		// and cpu only with others below.
		_, leave := occupy(t, filepath.Join(b.Dir, b.Self))
		pid, end := occupy(t, b.Dir)
		inside := b
		inside.Self = ""
		if _, err := inside.Make(1, c.l); !errors.Is(err, ErrInside) {
			t.Errorf("%+v: %v", c.l, err)
		}
		path, err := b.Make(1, c.l)
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range c.want {
			got, err := os.ReadFile(filepath.Join(b.Dir, filepath.Base(path), name))
			if err != nil || string(got) != want+"\n" {
				t.Errorf("%s is %q, want %s (%v)", name, got, want, err)
			}
		}
		own, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
		if err != nil || !strings.Contains(string(own), "0::"+b.Path+"/main\n") {
			t.Errorf("what was in the way is in %s, %v", own, err)
		}
		if err := b.Remove(path, 0); err != nil {
			t.Error(err)
		}
		if left, err := b.Others(nil); err != nil || len(left) > 0 {
			t.Errorf("left: %v, %v", left, err)
		}
		end()
		leave()
	}
}

func TestMachine(t *testing.T) {
	want, err := words(filepath.Join(top(t), "cgroup.controllers"))
	if err != nil {
		t.Fatal(err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if got := Machine(string(mounts)); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := Machine("31 23 0:28 / /sys/fs/cgroup ro - tmpfs tmpfs rw\n"); got != nil {
		t.Errorf("%v without any", got)
	}
}
