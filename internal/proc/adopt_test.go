package proc

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// stranger starts a process that is a child of another process and leads a
// group of its own, as a worker of an earlier master does. Its parent reaps.
func stranger(t *testing.T, script string) int {
	t.Helper()
	lines, w := pipe(t)
	s := spec("/bin/sh", "-c", `setsid sh -c '`+script+`' & wait; exec sleep 1000`)
	s.Plan.Env = []string{"PATH=/usr/bin:/bin"}
	s.Stdout = w
	r := start(t, s)
	_ = unix.Close(w)
	r.up()
	return readInt(t, lines)
}

func TestAdoptAStranger(t *testing.T) {
	pid := stranger(t, "echo $$; exec sleep 1000")
	r := adopt(t, pid)
	st, err := readStat(pid)
	if err != nil || r.StartTime() != st.start || r.PID() != pid {
		t.Errorf("start time %d, want %d (%v)", r.StartTime(), st.start, err)
	}
	if err := r.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	got := r.wait()
	if want := (Exit{Signal: unix.SIGTERM}); got != want && !(got.Unknown && !hasExitInfo(t)) {
		t.Errorf("%s", got)
	}
	if err := r.Signal(unix.SIGTERM); err != nil {
		t.Errorf("after the end: %v", err)
	}
}

// hasExitInfo asks the kernel whether it keeps the exits of reaped processes,
// by one that is known.
func hasExitInfo(t *testing.T) bool {
	t.Helper()
	cmd := exec.Command("/bin/sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(cmd.Process.Pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	p, err := newPidfd(fd)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	exit, err := p.info()
	if err != nil {
		t.Fatal(err)
	}
	return !exit.Unknown
}

func TestAdoptedGroupDies(t *testing.T) {
	for _, how := range []string{"leader", "group"} {
		pid := stranger(t, "sleep 1000 & sleep 1000 & echo $$; exec sleep 1000")
		r := adopt(t, pid)
		var err error
		if how == "leader" {
			err = r.Signal(unix.SIGKILL)
		} else {
			err = r.KillGroup()
		}
		if err != nil {
			t.Fatal(err)
		}
		r.await()
		if left := (group{id: pid, cgroup: -1}).members(pid); len(left) > 0 {
			t.Errorf("%s: left %v", how, left)
		}
	}
}

// A process that leads no group takes nobody with it.
func TestAdoptedMemberDiesAlone(t *testing.T) {
	lines, w := pipe(t)
	s := spec("/bin/sh", "-c", `sleep 1000 & echo $!; sleep 1000 & echo $!; wait; exec sleep 1000`)
	s.Plan.Env = []string{"PATH=/usr/bin:/bin"}
	s.Stdout = w
	leader := start(t, s)
	_ = unix.Close(w)
	leader.up()
	one, other := readInt(t, lines), readInt(t, lines)
	r := adopt(t, one)
	if err := r.KillGroup(); err != nil {
		t.Fatal(err)
	}
	r.await()
	for _, pid := range []int{other, leader.PID()} {
		if gone(pid) == nil {
			t.Errorf("%d died too", pid)
		}
	}
}

// After an exec in place the workers are still our children: their status is
// there to be read, and a zombie waits for us.
func TestAdoptOurOwnChild(t *testing.T) {
	fork := func(argv ...string) int {
		s := spec("")
		b, err := s.fork("/proc/self/exe", []string{"FUGUE_TEST=" + argv[0]}, nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = unix.Close(b.pidfd)
		return b.pid
	}
	pid := fork("exit7") // unknown role: exit status 0
	r := adopt(t, pid)
	if got := r.wait(); got != (Exit{}) {
		t.Error(got)
	}
	pid = fork("exit7")
	var si unix.Siginfo
	if err := unix.Waitid(unix.P_PID, pid, &si, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	r = adopt(t, pid) // a zombie
	if got := r.wait(); got != (Exit{}) {
		t.Error(got)
	}
}

func TestAdoptTheGone(t *testing.T) {
	cmd := exec.Command("/bin/true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	_, err := Adopt(cmd.Process.Pid, 0, -1, func() { t.Error("exited") })
	if !errors.Is(err, ErrGone) {
		t.Error(err)
	}
}

func TestFetchSocket(t *testing.T) {
	l, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(l, 1); err != nil {
		t.Fatal(err)
	}
	var want unix.Stat_t
	if err := unix.Fstat(l, &want); err != nil {
		t.Fatal(err)
	}
	s := spec("/bin/sleep", "1000")
	s.Files = []int{l}
	r := start(t, s)
	r.up()
	_ = unix.Close(l)

	fd, err := FetchSocket(r.PID(), 3)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	var got unix.Stat_t
	if err := unix.Fstat(fd, &got); err != nil || got.Ino != want.Ino {
		t.Errorf("inode %d, want %d (%v)", got.Ino, want.Ino, err)
	}
	if fl, _ := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); fl&unix.FD_CLOEXEC == 0 {
		t.Error("not close-on-exec")
	}
	if _, err := FetchSocket(r.PID(), 77); !errors.Is(err, unix.EBADF) {
		t.Error(err)
	}
	if _, err := FetchSocket(1<<30, 3); err == nil {
		t.Error("no such process")
	}
}

// strangers is a master in a part of its unit's cgroup, that says who else is in
// that, and where it is itself.
func strangers() {
	u, err := UnitCgroup(os.Getenv("UNIT"))
	if err != nil {
		fmt.Println(err)
	}
	fmt.Println(u.Strangers(os.Getpid()))
	fmt.Println(u.Path(), u.Self())
}

func TestStrangers(t *testing.T) {
	dir := testCgroup(t)
	unit := filepath.Base(dir)
	var inside []int
	for _, d := range []string{dir, dir + "/sub", dir + "/.control"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
		fd, err := unix.Open(d, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		s := spec("/bin/sleep", "1000")
		s.CgroupFD = fd
		r := start(t, s)
		_ = unix.Close(fd)
		r.up()
		if d != dir+"/.control" { // that is systemd's
			inside = append(inside, r.PID())
		}
	}
	// Looked at from a shell that moves there, and so leads no cgroup away.
	s := spec("/bin/sh", "-c", `echo $$ > "$0/cgroup.procs" && exec "$1"`, dir+"/sub", exeName(t))
	s.Plan.Env = []string{"FUGUE_TEST=strangers", "UNIT=" + unit}
	if got, want := output(t, s), fmt.Sprintln(inside, nil)+fmt.Sprintln("/"+unit, "sub"); got != want {
		t.Errorf("%q, want %q", got, want)
	}

	if _, err := UnitCgroup("no-such.service"); err == nil {
		t.Error("a unit that this is not in")
	}
}

// Numbers are reused: what is sent to a child that is gone reaches nobody.
func TestSignalAfterTheEndReachesNobody(t *testing.T) {
	var r *run
	var next func() string // ends the next process of that number
	for tries := 0; next == nil; tries++ {
		if tries == 20 {
			t.Fatal("the number of an ended process is not to be had")
		}
		r = start(t, spec("/bin/true"))
		r.await() // a zombie: the number is taken
		if err := r.Signal(unix.SIGKILL); err != nil {
			t.Error(err)
		}
		r.wait()
		next = reuse(t, r.PID())
	}
	if err := r.Signal(unix.SIGKILL); err != nil {
		t.Error(err)
	}
	if err := r.KillGroup(); err != nil {
		t.Error(err)
	}
	if got := next(); got != "exit status 3" {
		t.Errorf("the next process %d: %s", r.PID(), got)
	}
}

// reuse makes a process with a given number, which waits until it is asked for
// its exit; nil if others, who start processes too, have taken the number.
func reuse(t *testing.T, pid int) func() string {
	t.Helper()
	for range 20 {
		if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(pid-1)), 0); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("/bin/sh", "-c", "read line; exit 3")
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if cmd.Process.Pid == pid {
			return func() string {
				_ = in.Close()
				_ = cmd.Wait()
				return cmd.ProcessState.String()
			}
		}
		_ = in.Close()
		_ = cmd.Wait()
	}
	return nil
}
