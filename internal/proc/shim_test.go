package proc

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"fugue/internal/launch"
	"fugue/internal/loadtest"
)

// A signal that comes while the shim is at work must act: neither the shim's
// runtime nor the blocked mask may swallow it.
func TestSignalBeforeTheExecKills(t *testing.T) { bothWays(t, testSignalBeforeTheExecKills) }

func testSignalBeforeTheExecKills(t *testing.T) {
	for i := range loadtest.Scale(400) {
		sig := []unix.Signal{unix.SIGTERM, unix.SIGUSR1, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT}[i%5]
		s := spec("/bin/sleep", "1000")
		s.Plan.Dir = t.TempDir()
		r := start(t, s)
		if i%3 != 0 { // at once, or when the shim is somewhere further on
			for range i * 50 {
				runtime.Gosched()
			}
		}
		if err := r.Signal(sig); err != nil {
			t.Fatal(err)
		}
		<-r.launched
		if got := r.wait(); got.Signal != sig {
			t.Fatalf("sent %s: %s", unix.SignalName(sig), got)
		}
	}
}

// hold makes the shim wait in the middle of its work, in a connect to a
// journal that accepts nothing, until release.
func hold(t *testing.T, s *Spec) (held, release func()) {
	t.Helper()
	l, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(l) })
	path := filepath.Join(t.TempDir(), "s")
	if err := unix.Bind(l, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	// A backlog of 0 lets one wait: the second stream cannot connect.
	if err := unix.Listen(l, 0); err != nil {
		t.Fatal(err)
	}
	s.Plan.Journal = &launch.Journal{Path: path, Identifier: "web/3"}
	held = func() { _, _ = unix.Poll([]unix.PollFd{{Fd: int32(l), Events: unix.POLLIN}}, -1) }
	release = func() {
		for range 2 {
			conn, _, err := unix.Accept4(l, unix.SOCK_CLOEXEC)
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { unix.Close(conn) })
		}
	}
	return held, release
}

func TestProcessListName(t *testing.T) { bothWays(t, testProcessListName) }

func testProcessListName(t *testing.T) {
	s := spec("/bin/true")
	s.Name = "web/3"
	held, release := hold(t, &s)
	r := start(t, s)
	held()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(r.PID()) + "/cmdline")
	if want := "fugue: starting web/3\x00"; err != nil || string(b) != want {
		t.Errorf("%q, %v", b, err)
	}
	release()
	r.up()
}

func TestSignalInTheShimActsAtTheExec(t *testing.T) { bothWays(t, testSignalInTheShimActsAtTheExec) }

func testSignalInTheShimActsAtTheExec(t *testing.T) {
	for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGUSR1, unix.SIGHUP, unix.SIGQUIT, unix.SIGWINCH, unix.SIGURG} {
		s := spec("/bin/true")
		if sig == unix.SIGQUIT {
			s = spec("/bin/sleep", "1000")
		}
		held, release := hold(t, &s)
		r := start(t, s)
		held()
		if err := r.Signal(sig); err != nil {
			t.Fatal(err)
		}
		want := Exit{Signal: sig}
		ignored := sig == unix.SIGWINCH || sig == unix.SIGURG // by default
		if ignored {
			want = Exit{}
		}
		if ignored || sig == unix.SIGQUIT || s.long && !isCaught(sig) { // kept until the exec
			release()
		}
		if got := r.wait(); got != want {
			t.Errorf("%s: %s", unix.SignalName(sig), got)
		}
	}
}

// Sent by a person and not through Child, which holds it back, a QUIT must not
// be answered by the shim's runtime with goroutines and exit status 2.
func TestQuitFromOutsideInTheShim(t *testing.T) { bothWays(t, testQuitFromOutsideInTheShim) }

func testQuitFromOutsideInTheShim(t *testing.T) {
	s := spec("/bin/true")
	held, _ := hold(t, &s)
	r := start(t, s)
	held()
	if err := unix.Kill(r.PID(), unix.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	if got := r.wait(); got.Signal != unix.SIGQUIT {
		t.Error(got)
	}
}

// ignoring is a master under nohup.
func ignoring() {
	signal.Ignore(unix.SIGHUP, unix.SIGINT)
	ended := make(chan struct{})
	s := spec("/bin/grep", "SigIgn", "/proc/self/status")
	s.Stdout = 1
	if _, err := Start(s, func(error) {}, func() { close(ended) }); err != nil {
		fmt.Println(err)
		return
	}
	<-ended
}

func TestIgnoredSignalsAreNotInherited(t *testing.T) { bothWays(t, testIgnoredSignalsAreNotInherited) }

func testIgnoredSignalsAreNotInherited(t *testing.T) {
	s := spec(exeName(t))
	s.asMaster("ignoring")
	if got := output(t, s); got != "SigIgn:\t0000000000000000\n" {
		t.Error(got)
	}
}

// A shim that dies on its way has not executed anything, and says so.
func TestDeathInTheShimIsNoLaunch(t *testing.T) { bothWays(t, testDeathInTheShimIsNoLaunch) }

func testDeathInTheShimIsNoLaunch(t *testing.T) {
	s := spec("/bin/true")
	held, _ := hold(t, &s)
	r := start(t, s)
	held()
	if err := r.KillGroup(); err != nil {
		t.Fatal(err)
	}
	var le *LaunchError
	if err := <-r.launched; !errors.As(err, &le) || le.Errno != 0 {
		t.Errorf("launched(%v)", err)
	}
	if got := r.wait(); got != (Exit{Signal: unix.SIGKILL}) {
		t.Error(got)
	}
}
