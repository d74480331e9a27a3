package activation

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The test binary plays other processes: the variable says which.
const roleVar = "ACTIVATION_TEST_ROLE"

// noLinger: a binary built with -race otherwise waits a second at its exit.
const noLinger = "GORACE=atexit_sleep_ms=0"

func TestMain(m *testing.M) {
	switch os.Getenv(roleVar) {
	case "":
		os.Exit(m.Run())
	case "hold":
		holdRole()
	case "activated":
		activatedRole()
	case "pid":
		// What systemd does between fork and exec; PIDFDID=own is replaced too.
		os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
		if os.Getenv("LISTEN_PIDFDID") == "own" {
			id, _ := pidfdID(os.Getpid())
			os.Setenv("LISTEN_PIDFDID", strconv.FormatUint(id, 10))
		}
		os.Setenv(roleVar, "activated")
		panic(syscall.Exec("/proc/self/exe", os.Args, os.Environ()))
	}
}

// holdRole binds what its environment says and keeps it until stdin ends.
func holdRole() {
	var s Spec
	check(json.Unmarshal([]byte(os.Getenv("SPEC")), &s))
	c, err := Prepare(nil, []Spec{s}, nil, nil)
	check(err)
	fmt.Println(c.Set().Listeners()[0].Address)
	io.Copy(io.Discard, os.Stdin)
	c.Set().Close(true)
	os.Exit(0)
}

// report is what activatedRole saw.
type report struct {
	Err       string
	Inherited []Inherited
	CloseExec []bool
	Listeners []Listener
}

func activatedRole() {
	var r report
	in, err := FromEnv(os.LookupEnv, os.Getpid())
	if err != nil {
		r.Err = err.Error()
	}
	r.Inherited = in
	for _, f := range in {
		flags, err := unix.FcntlInt(uintptr(f.FD), unix.F_GETFD, 0)
		r.CloseExec = append(r.CloseExec, err == nil && flags&unix.FD_CLOEXEC != 0)
	}
	if len(in) > 0 {
		var specs []Spec
		check(json.Unmarshal([]byte(os.Getenv("SPECS")), &specs))
		c, err := Prepare(nil, specs, in, nil)
		check(err)
		check(c.Commit())
		r.Listeners = c.Set().Listeners()
	}
	check(json.NewEncoder(os.Stdout).Encode(r))
	os.Exit(0)
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// activate starts a process with fds from 3 on and gives its report.
func activate(t *testing.T, role string, env []string, fds ...int) report {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append([]string{roleVar + "=" + role, noLinger, "SPECS=[]"}, env...)
	cmd.Stderr = os.Stderr
	for _, fd := range fds {
		dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		ok(t, err)
		f := os.NewFile(uintptr(dup), "")
		defer f.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	out, err := cmd.Output()
	ok(t, err)
	var r report
	ok(t, json.Unmarshal(out, &r))
	return r
}

// hold starts a process that binds a spec; it ends with the test.
func hold(t *testing.T, s Spec) (pid int, address string) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	text, err := json.Marshal(s)
	ok(t, err)
	cmd.Env = []string{roleVar + "=hold", noLinger, "SPEC=" + string(text)}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	ok(t, err)
	out, err := cmd.StdoutPipe()
	ok(t, err)
	ok(t, cmd.Start())
	t.Cleanup(func() { in.Close(); cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	ok(t, err)
	return cmd.Process.Pid, strings.TrimSpace(line)
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q lacks %q", err, p)
		}
	}
}

// prepare is a Prepare that must work and is aborted in the end if the test
// did not end it.
func prepare(t *testing.T, current *Set, in []Inherited, specs ...Spec) *Candidate {
	t.Helper()
	c, err := Prepare(current, specs, in, nil)
	ok(t, err)
	t.Cleanup(func() { c.Abort() })
	return c
}

// commit makes a first Set; it is closed in the end unless release is called.
func commit(t *testing.T, current *Set, in []Inherited, specs ...Spec) *Set {
	t.Helper()
	c := prepare(t, current, in, specs...)
	ok(t, c.Commit())
	for _, l := range c.Set().Listeners() {
		closeLater(t, l)
	}
	return c.Set()
}

// closeLater closes a socket at the end of the test if it is still open.
func closeLater(t *testing.T, l Listener) {
	t.Cleanup(func() {
		if id, err := socketID(l.FD); err == nil && id == l.Inode {
			closeListener(l, true)
		}
	})
}

func only(t *testing.T, s *Set) Listener {
	t.Helper()
	if n := len(s.Listeners()); n != 1 {
		t.Fatalf("%d listeners, want 1: %+v", n, s.Listeners())
	}
	return s.Listeners()[0]
}

// connect reports whether an address takes a connection, and closes it.
func connect(l Listener) error {
	c, err := net.DialTimeout(l.Network, l.Address, 5*time.Second)
	if err == nil {
		c.Close()
	}
	return err
}

// reaches connects and sees the connection arrive at exactly this socket.
func reaches(t *testing.T, l Listener) {
	t.Helper()
	ok(t, connect(l))
	p := []unix.PollFd{{Fd: int32(l.FD), Events: unix.POLLIN}}
	if n, err := unix.Poll(p, 5000); n != 1 {
		t.Fatalf("%s: the connection did not arrive: %v", l.Address, err)
	}
	fd, _, err := unix.Accept4(l.FD, unix.SOCK_CLOEXEC)
	ok(t, err)
	unix.Close(fd)
}

func getsockopt(t *testing.T, fd, level, opt int) int {
	t.Helper()
	v, err := unix.GetsockoptInt(fd, level, opt)
	ok(t, err)
	return v
}

// tempDir is short enough for a unix path, whatever the test is called.
func tempDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "f")
	ok(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func sockPath(t *testing.T) string { return filepath.Join(tempDir(t), "s") }

// stale leaves a socket file behind that nobody is bound to.
func stale(t *testing.T, path string, kind int) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
	ok(t, err)
	ok(t, unix.Bind(fd, &unix.SockaddrUnix{Name: path}))
	ok(t, unix.Close(fd))
}

// openFDs counts the sockets of this process; sockets only, because the
// runtime may open others when it likes.
func openFDs(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	ok(t, err)
	n := 0
	for _, e := range entries {
		if link, _ := os.Readlink("/proc/self/fd/" + e.Name()); strings.HasPrefix(link, "socket:") {
			n++
		}
	}
	return n
}

// bound makes sockets as systemd or an earlier fugue would pass them: the fd
// belongs to the test, its duplicate in the list to Prepare.
func bound(t *testing.T, name string, s Spec) Inherited {
	t.Helper()
	s.Name = "x"
	c := prepare(t, nil, nil, s)
	l := only(t, c.Set())
	fd, err := unix.FcntlInt(uintptr(l.FD), unix.F_DUPFD_CLOEXEC, 3)
	ok(t, err)
	t.Cleanup(func() {
		if id, err := socketID(fd); err == nil && id == l.Inode {
			unix.Close(fd)
		}
	})
	return Inherited{Name: name, FD: fd}
}

func addressOf(t *testing.T, fd int) string {
	t.Helper()
	d, err := describe(fd)
	ok(t, err)
	return d.address
}
