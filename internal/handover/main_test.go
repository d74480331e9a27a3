package handover

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain lets the test binary be a part of a handover, or what FUGUE_TEST
// says.
func TestMain(m *testing.M) {
	if code, ours := Main(); ours {
		os.Exit(code)
	}
	if role, ok := os.LookupEnv("FUGUE_TEST"); ok {
		os.Exit(child(role))
	}
	os.Exit(m.Run())
}

func child(role string) int {
	return map[string]func() int{
		"writer":   writer,
		"rehearse": rehearsed,
		"execs":    execs,
		"binary":   binaryRole,
		"master":   master,
		"victim":   victim,
		"refused":  refusedMaster,
	}[role]()
}

// patience bounds waits for events that always come.
const patience = 60 * time.Second

// A process is the test binary in a role; its output comes line by line.
type process struct {
	*exec.Cmd
	stdin io.WriteCloser
	lines chan string // closed at the end of its output
}

func startRole(t testing.TB, role string, env ...string) *process {
	t.Helper()
	return startFile(t, exeName(t), role, env...)
}

func startFile(t testing.TB, path, role string, env ...string) *process {
	t.Helper()
	p := newProcess(t, path, role, env...)
	p.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	p.begin(t, role)
	return p
}

// startOn starts a role in a session of its own on a terminal, its stdout apart.
func startOn(t testing.TB, tty int, role string, env ...string) *process {
	t.Helper()
	p := newProcess(t, exeName(t), role, env...)
	f := os.NewFile(uintptr(tty), "tty")
	p.ExtraFiles = []*os.File{f}
	p.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: true, Ctty: 3}
	p.begin(t, role)
	_ = f.Close()
	return p
}

func newProcess(t testing.TB, path, role string, env ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(path, role), lines: make(chan string, 1000)}
	// The race detector's runtime would sleep for a second at each exit.
	p.Env = append(os.Environ(), append(env, "FUGUE_TEST="+role, "GORACE=atexit_sleep_ms=0")...)
	p.Stderr = &strings.Builder{}
	stdin, err := p.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdin = stdin
	return p
}

func (p *process) begin(t testing.TB, role string) {
	t.Helper()
	stdout, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer close(p.lines)
		for s := bufio.NewScanner(stdout); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		_ = p.Process.Kill()
		for range p.lines {
		}
		<-ended
		_ = p.Wait()
		if t.Failed() {
			t.Logf("%s wrote: %s", role, p.Stderr)
		}
	})
}

// line is the next one of its output.
func (p *process) line(t testing.TB) string {
	t.Helper()
	select {
	case line, open := <-p.lines:
		if !open {
			_ = p.Wait()
			t.Fatalf("process %d has ended: %v\n%v", p.Process.Pid, p.ProcessState, p.Stderr)
		}
		return line
	case <-time.After(patience):
		t.Fatalf("process %d says nothing", p.Process.Pid)
	}
	return ""
}

func (p *process) signal(t *testing.T, sig unix.Signal) {
	t.Helper()
	if err := unix.Kill(p.Process.Pid, sig); err != nil {
		t.Fatal(err)
	}
}

func exeName(t testing.TB) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return exe
}

// fds counts the descriptors of a process.
func fds(pid int) int {
	list, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/fd")
	if err != nil {
		return -1
	}
	return len(list)
}

// children counts those of a process, zombies too.
func children(pid int) (n int) {
	tasks, _ := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/task")
	for _, task := range tasks {
		b, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/task/" + task.Name() + "/children")
		n += len(strings.Fields(string(b)))
	}
	return n
}

func openPTY(t testing.TB) (master, slave int) {
	t.Helper()
	m, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(m) })
	if err := unix.IoctlSetPointerInt(m, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(m, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err := unix.Open("/dev/pts/"+strconv.Itoa(n), unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return m, tty
}
