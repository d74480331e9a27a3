package proc

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"fugue/internal/loadtest"
)

// family starts a worker that leaves children: two in its group, one of them a
// grandchild, and gives their numbers.
func family(t *testing.T, s *Spec) (*run, []int) {
	t.Helper()
	lines, w := pipe(t)
	s.Plan.Path = "/bin/sh"
	s.Plan.Args = []string{"sh", "-c", `sleep 1000 & echo $!
		sh -c 'trap "" TERM; sleep 1000 & echo $!; wait' &
		echo up; exec sleep 1000`}
	s.Plan.Env = []string{"PATH=/usr/bin:/bin"}
	s.Stdout = w
	r := start(t, *s)
	_ = unix.Close(w)
	r.up()
	var pids []int
	for range 3 {
		var pid int
		if line := readLine(t, lines); line != "up" {
			if _, err := fmt.Sscan(line, &pid); err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	return r, pids
}

func TestGrandchildrenAreGoneBeforeTheExitIsTold(t *testing.T) {
	for range loadtest.Scale(50) {
		s := spec("")
		r, pids := family(t, &s)
		if err := r.Signal(unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		r.await()
		for _, pid := range pids {
			if err := gone(pid); err != nil {
				t.Error(err)
			}
		}
		if left := (group{id: r.PID(), cgroup: -1}).members(r.PID()); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
		if got := r.wait(); got != (Exit{Signal: unix.SIGKILL}) {
			t.Error(got)
		}
	}
}

// Asked of the kernel, the end is told with the worker's own, and once more when
// nothing is left, where something was: here for certain, since a process of the
// group has a parent outside that does not collect it.
func TestAskGroup(t *testing.T) {
	const script = `import os, time
if os.fork() == 0:
	if os.fork() == 0:
		while os.getsid(os.getppid()) == os.getsid(0): time.sleep(0.001)
		print(os.getppid(), os.getpid(), flush=True)
		time.sleep(1000)
	os.setsid()
time.sleep(1000)`
	for _, s := range []Spec{spec("/bin/sh", "-c", "echo 0 0; exec sleep 1000"), spec("/usr/bin/python3", "-c", script)} {
		lines, w := pipe(t)
		s.Stdout, s.AskGroup = w, true
		exited := make(chan struct{}, 2)
		c, err := Start(s, func(error) {}, func() { exited <- struct{}{} })
		_ = unix.Close(w)
		if err != nil {
			t.Fatal(err)
		}
		var outside, member int
		if _, err := fmt.Sscan(readLine(t, lines), &outside, &member); err != nil {
			t.Fatal(err)
		}
		if outside > 0 {
			defer func() { _ = unix.Kill(outside, unix.SIGKILL) }()
		}
		if err := c.Signal(unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		<-exited
		exit, err := c.Reap()
		if exit != (Exit{Signal: unix.SIGKILL}) || (err != nil) != (member > 0) || err != nil && !errors.Is(err, ErrLingers) {
			t.Errorf("%v, %v with member %d", exit, err, member)
		}
		if err == nil {
			continue
		}
		<-exited
		if again, err := c.Reap(); again != exit || err != nil {
			t.Errorf("%v, %v after all had ended", again, err)
		}
		if err := gone(member); err != nil {
			t.Error(err)
		}
	}
}

func TestKillGroup(t *testing.T) {
	s := spec("")
	r, pids := family(t, &s)
	if err := r.KillGroup(); err != nil {
		t.Fatal(err)
	}
	if got := r.wait(); got != (Exit{Signal: unix.SIGKILL}) {
		t.Error(got)
	}
	for _, pid := range pids {
		if err := gone(pid); err != nil {
			t.Error(err)
		}
	}
	if err := r.KillGroup(); err != nil {
		t.Errorf("after the end: %v", err)
	}
}

// A worker that forks all the time cannot outrun the end of its group.
func TestForkingGroupIsCaught(t *testing.T) {
	lines, w := pipe(t)
	s := spec("/bin/sh", "-c", `f() { while :; do sh -c 'sleep 1000 & sleep 1000 &' & done; }; (f) & echo up; wait`)
	s.Plan.Env = []string{"PATH=/usr/bin:/bin"}
	s.Stdout = w
	r := start(t, s)
	_ = unix.Close(w)
	r.up()
	readLine(t, lines)
	if err := r.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r.await()
	if left := (group{id: r.PID(), cgroup: -1}).members(r.PID()); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// testCgroup makes a cgroup of version 2 that goes when the test ends.
func testCgroup(t *testing.T) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	root := cgroupDir("0::/x\n", string(mounts))
	if root == "" {
		t.Fatal("no cgroup2 mount")
	}
	dir, err := os.MkdirTemp(filepath.Dir(root), "fugue-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// Empty only once the last zombie has been reaped, by whomever.
		deadline := time.Now().Add(patience)
		for {
			_ = os.Remove(dir + "/sub")
			_ = os.Remove(dir + "/.control")
			if os.Remove(dir) == nil {
				return
			}
			if time.Now().After(deadline) {
				t.Errorf("%s stays", dir)
				return
			}
			runtime.Gosched()
		}
	})
	return dir
}

func TestParseStat(t *testing.T) {
	line := "17 (a) R (b\n) S 1 16 15 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 4711 1 2\n"
	got, err := parseStat(line)
	want := stat{state: 'S', ppid: 1, pgrp: 16, threads: 3, start: 4711}
	if err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"", "1 (x) S 1 1", "1 (x) S a 16 15 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 4711"} {
		if _, err := parseStat(bad); err == nil {
			t.Errorf("%q", bad)
		}
	}
	own, err := readStat(os.Getpid())
	if err != nil || own.ppid != os.Getppid() || own.pgrp != unix.Getpgrp() || own.start == 0 || !own.alive() {
		t.Errorf("%+v, %v", own, err)
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add("17 (a) R (b\n) S 1 16 15 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 4711 1 2\n")
	f.Add(")")
	f.Fuzz(func(_ *testing.T, line string) { _, _ = parseStat(line) })
}

func TestCgroupDir(t *testing.T) {
	hybrid := "31 23 0:28 / /sys/fs/cgroup ro - tmpfs tmpfs rw\n" +
		"41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n"
	pure := "41 31 0:38 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n"
	part := "41 31 0:38 /docker/1 /my\\040cgroup rw,relatime - cgroup2 cgroup2 rw\n"
	unit := "9:name=systemd:/system.slice/v1.service\n0::/system.slice/web.service\n"
	tests := []struct{ own, mounts, want string }{
		{unit, hybrid, "/sys/fs/cgroup/unified/system.slice/web.service"},
		{unit, pure, "/sys/fs/cgroup/system.slice/web.service"},
		{unit, part, ""},
		{"0::/docker/1/a\n", part, "/my cgroup/a"},
		{"0::/docker/11/a\n", part, ""},
		{"0::/\n", pure, ""},
		{"0::/../other\n", "", ""},
		{"9:name=systemd:/x\n", hybrid, ""},
	}
	for _, test := range tests {
		if d := cmp.Diff(test.want, cgroupDir(test.own, test.mounts)); d != "" {
			t.Errorf("%q: %s", test.own, d)
		}
	}
}
