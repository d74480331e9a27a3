package proc

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// escaping is a worker whose daemon has left its group, its session and its
// parent, for a cgroup below that of the worker. It says the daemon's number and
// then both cgroups.
const escaping = `mkdir "$0/sub"
	sh -c 'setsid sh -c "echo \$\$ >$0/sub/cgroup.procs; echo \$\$; exec sleep 1000" &' "$0"
	cat /proc/self/cgroup | grep ^0::
	exec sleep 1000`

func escapingSpec(dir string) Spec {
	s := spec("/bin/sh", "-c", escaping, dir)
	s.Plan.Env = []string{"PATH=/usr/bin:/bin"}
	s.Plan.Held = true
	return s
}

// cgrouped starts such a worker in a cgroup of its own, and gives its daemon.
func cgrouped(t *testing.T) (r *run, dir string, daemon int) {
	t.Helper()
	dir = testCgroup(t)
	fd := openDir(t, dir)
	lines, w := pipe(t)
	s := escapingSpec(dir)
	s.Stdout, s.CgroupFD = w, fd
	r = start(t, s)
	_ = unix.Close(w)
	_ = unix.Close(fd)
	if in := cgroupOf(t, r.PID()); in != "/"+filepath.Base(dir) {
		t.Errorf("held in %q", in)
	}
	r.Proceed()
	r.up()
	for range 2 {
		if line := readLine(t, lines); strings.HasPrefix(line, "0::") {
			if line != "0::/"+filepath.Base(dir) {
				t.Errorf("the worker is in %q", line)
			}
		} else if _, err := fmt.Sscan(line, &daemon); err != nil {
			t.Fatal(err)
		}
	}
	return r, dir, daemon
}

func openDir(t *testing.T, dir string) int {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

func cgroupOf(t *testing.T, pid int) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		t.Fatal(err)
	}
	return cgroupPath(string(b))
}

// Who left the group is reached through the cgroup alone, before the exit is
// told.
func TestCgroup(t *testing.T) {
	bothWays(t, func(t *testing.T) {
		for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
			r, _, daemon := cgrouped(t)
			send := func() error { return r.Signal(sig) }
			if sig == unix.SIGKILL {
				send = r.KillGroup
			}
			if err := send(); err != nil {
				t.Fatal(err)
			}
			r.await()
			if err := gone(daemon); err != nil {
				t.Error(err)
			}
			if got := r.wait(); got != (Exit{Signal: sig}) {
				t.Error(got)
			}
		}
	})
}

// A master that took the worker over has the directory anew.
func TestAdoptedCgroup(t *testing.T) {
	_, dir, daemon := cgrouped(t)
	lines, w := pipe(t)
	s := spec("/bin/sh", "-c", `setsid sh -c 'echo $$; exec sleep 1000' & exec sleep 1000`)
	s.Plan.Env = []string{"PATH=/usr/bin:/bin"}
	s.Stdout = w
	old := start(t, s) // as if it had been there from the beginning
	_ = unix.Close(w)
	old.up()
	other := readInt(t, lines)
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), fmt.Appendln(nil, other), 0); err != nil {
		t.Fatal(err)
	}
	fd := openDir(t, dir)
	exited := make(chan struct{})
	c, err := Adopt(other, 0, fd, func() { close(exited) })
	_ = unix.Close(fd)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.KillGroup(); err != nil {
		t.Fatal(err)
	}
	<-exited
	if err := gone(daemon); err != nil {
		t.Error(err)
	}
	if _, err := c.Reap(); err != nil {
		t.Error(err)
	}
}

// unforked is a master whose clone3 is forbidden, as by RestrictNamespaces=.
func unforked() {
	runtime.LockOSThread()
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_CLONE3, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		fmt.Println(err)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog))); errno != 0 {
		fmt.Println("seccomp:", errno)
	}
	dir := os.Getenv("CGROUP")
	fd, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		fmt.Println(err)
	}
	attr := &syscall.ProcAttr{Sys: &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: fd}}
	if _, err := syscall.ForkExec("/bin/true", []string{"true"}, attr); !errors.Is(err, unix.ENOSYS) {
		fmt.Println("clone3 is not forbidden:", err)
	}
	s := spec("/bin/grep", "^0::", "/proc/self/cgroup")
	s.CgroupFD, s.Stdout, s.Plan.Held = fd, 1, true
	launched, exited := make(chan error, 1), make(chan struct{})
	c, err := Start(s, func(err error) { launched <- err }, func() { close(exited) })
	if err != nil {
		fmt.Println(err)
		return
	}
	c.Proceed()
	if err := <-launched; err != nil {
		fmt.Println(err)
	}
	<-exited
	if exit, err := c.Reap(); err != nil || !exit.Success() {
		fmt.Println(exit, err)
	}
}

func TestCgroupWithoutClone3(t *testing.T) {
	bothWays(t, func(t *testing.T) {
		dir := testCgroup(t)
		if got, want := elsewhere(t, exeName(t), "unforked", nil, "CGROUP="+dir, "FUGUE_TEST_LONG="+os.Getenv("FUGUE_TEST_LONG")), "0::/"+filepath.Base(dir)+"\n"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	})
}
