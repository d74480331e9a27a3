package proc

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"fugue/internal/launch"
	"fugue/internal/loadtest"
)

// rebornSignals are the reborn worker's.
var rebornSignals = []unix.Signal{unix.SIGHUP, unix.SIGUSR1, unix.SIGUSR2, unix.SIGWINCH, unix.SIGTERM}

// reborn is a small master: it says every signal that it takes, and replaces
// itself at each USR2 until TERM.
func reborn() {
	if err := EnsureBlocked(rebornSignals); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	s, err := WatchSignals(rebornSignals)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("up", os.Getpid())
	for range s.Pending() {
		again := false
		for _, sig := range s.Take() {
			fmt.Println(unix.SignalName(sig.Signal), sig.FromUser, sig.PID)
			switch sig.Signal {
			case unix.SIGTERM:
				return
			case unix.SIGUSR2:
				again = true
			}
		}
		if again {
			for _, sig := range s.Close() {
				fmt.Println(unix.SignalName(sig.Signal), sig.FromUser, sig.PID)
			}
			fmt.Println(syscall.Exec(launch.Image(), os.Args, os.Environ()))
		}
	}
}

func startReborn(t *testing.T) (*run, *bufio.Reader) {
	t.Helper()
	lines, w := pipe(t)
	s := spec(exeName(t), "reborn", "a b", "")
	s.Plan.Env, s.Stdout = []string{"FUGUE_TEST=reborn"}, w
	r := start(t, s)
	_ = unix.Close(w)
	r.up()
	if got, want := readLine(t, lines), fmt.Sprintf("up %d", r.PID()); got != want {
		t.Fatalf("%q, want %q", got, want)
	}
	return r, lines
}

// Every thread has the signals blocked, and the process is still the same one
// with the same arguments.
func TestEnsureBlocked(t *testing.T) {
	r, _ := startReborn(t)
	dir := fmt.Sprintf("/proc/%d/task", r.PID())
	tasks, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		b, err := os.ReadFile(dir + "/" + task.Name() + "/status")
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(b), "SigBlk:\t")
		var mask uint64
		if _, err := fmt.Sscanf(rest, "%x", &mask); err != nil {
			t.Fatal(err)
		}
		for _, sig := range rebornSignals {
			if !isCaught(sig) && mask>>(sig-1)&1 == 0 {
				t.Errorf("thread %s takes %s", task.Name(), unix.SignalName(sig))
			}
		}
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", r.PID()))
	if err != nil || string(b) != exeName(t)+"\x00reborn\x00a b\x00\x00" {
		t.Errorf("%q, %v", b, err)
	}
	if comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", r.PID())); err != nil || strings.HasPrefix(string(comm), "exe") {
		t.Errorf("comm %q, %v", comm, err)
	}
}

func TestEnsureBlockedRefusesTheRuntimesOwn(t *testing.T) {
	for _, sig := range runtimeSignals {
		if err := EnsureBlocked([]unix.Signal{unix.SIGTERM, sig}); err == nil {
			t.Errorf("%s", unix.SignalName(sig))
		}
	}
}

// Each signal is sent when the last one has been said, so none may merge with
// another: every one must be seen, by whichever image. HUPs rain all the while
// and must not end what cannot block them.
func TestNoSignalIsLostOverExec(t *testing.T) {
	r, lines := startReborn(t)
	said := func() string {
		for {
			if line := readLine(t, lines); !strings.HasPrefix(line, "up ") && !strings.HasPrefix(line, "SIGHUP") {
				return line
			}
		}
	}
	rain := time.NewTicker(200 * time.Microsecond)
	dry, pouring := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(pouring)
		for {
			select {
			case <-dry:
				return
			case <-rain.C:
				_ = unix.Kill(r.PID(), unix.SIGHUP)
			}
		}
	}()
	send := func(sig unix.Signal) {
		t.Helper()
		if err := r.Signal(sig); err != nil {
			t.Fatal(err)
		}
		if got, want := said(), fmt.Sprintf("%s true %d", unix.SignalName(sig), os.Getpid()); got != want {
			t.Fatalf("%q, want %q", got, want)
		}
	}
	for range loadtest.Scale(500) {
		send(unix.SIGUSR2)
		send(unix.SIGUSR1) // it is on its way through the exec now
		send(unix.SIGWINCH)
	}
	rain.Stop()
	close(dry)
	<-pouring
	// Past the last exec for certain: two that it answers itself.
	send(unix.SIGUSR1)
	if err := r.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := said(); got != "SIGTERM true 0" {
		t.Error(got)
	}
	if got := r.wait(); !got.Success() {
		t.Error(got)
	}
}

// closing is the worker of TestCloseGivesWhatWasCaught, as a process of its
// own: what is ignored stays so and would pass to later children.
func closing() {
	set := []unix.Signal{unix.SIGHUP, unix.SIGTERM}
	s, err := WatchSignals(set)
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = unix.Kill(os.Getpid(), unix.SIGTERM)
	<-s.Pending()
	fmt.Println(s.Close())
	_ = unix.Kill(os.Getpid(), unix.SIGHUP) // ignored now
	if s, err = WatchSignals(set); err != nil {
		fmt.Println(err)
		return
	}
	_ = unix.Kill(os.Getpid(), unix.SIGHUP)
	<-s.Pending()
	fmt.Println(s.Take())
}

// What was caught and not taken is handed over at the close, and a watch can
// begin again, as it must after an exec that failed.
func TestCloseGivesWhatWasCaught(t *testing.T) {
	s := spec(exeName(t))
	s.Plan.Env = []string{"FUGUE_TEST=closing"}
	want := fmt.Sprintln([]Signal{{Signal: unix.SIGTERM, FromUser: true}}) +
		fmt.Sprintln([]Signal{{Signal: unix.SIGHUP, FromUser: true}})
	if d := cmp.Diff(want, output(t, s)); d != "" {
		t.Error(d)
	}
}

// last is a process that has come to its end when it is told to stop once more.
func last() {
	set := []unix.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM}
	s, err := WatchSignals(set)
	if err != nil {
		fmt.Println(err)
		return
	}
	s.End()
	for _, sig := range set {
		_ = unix.Kill(os.Getpid(), sig)
	}
	fmt.Println("ended by itself")
}

// After the end of the watch no signal ends the process with a status that is not
// its own.
func TestEndIgnoresWhatIsLate(t *testing.T) {
	s := spec(exeName(t))
	s.Plan.Env = []string{"FUGUE_TEST=last"}
	if got := output(t, s); got != "ended by itself\n" {
		t.Errorf("it said %q", got)
	}
}

// What the terminal sends is told from what a process sends.
func TestSignalFromTheTerminal(t *testing.T) {
	pty, tty := openPTY(t)
	lines, w := pipe(t)
	s := spec("/usr/bin/setsid", "--ctty", "--wait", exeName(t), "reborn")
	s.Plan.Env, s.Stdin, s.Stdout = []string{"FUGUE_TEST=reborn"}, tty, w
	r := start(t, s)
	_ = unix.Close(w)
	_ = unix.Close(tty)
	r.up()
	var pid int
	if _, err := fmt.Sscanf(readLine(t, lines), "up %d", &pid); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Kill(pid, unix.SIGKILL) }) // it left the group
	if err := unix.IoctlSetWinsize(pty, unix.TIOCSWINSZ, &unix.Winsize{Row: 20, Col: 70}); err != nil {
		t.Fatal(err)
	}
	if got := readLine(t, lines); got != "SIGWINCH false 0" {
		t.Error(got)
	}
	_ = unix.Close(pty) // the terminal goes away
	if got := readLine(t, lines); got != "SIGHUP false 0" {
		t.Error(got)
	}
}

func openPTY(t *testing.T) (master, slave int) {
	t.Helper()
	m, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(m, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(m, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err := unix.Open(fmt.Sprintf("/dev/pts/%d", n), unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return m, tty
}
