package cli_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"fugue/e2e"
	"fugue/internal/control"
)

// The caller returns when the pool serves, and nothing of it goes along: no
// terminal, no session, no descriptor, no directory; after an upgrade neither.
func TestDaemon(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	_, terminal := openTerminal(t)
	ours, theirs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := p.fugue(slices.Insert(p.words(), 1, "--daemonize", "--pid-file", "web.pid")...)
	t.Cleanup(func() { ask(t, p.fugue("stop", "web")) })
	cmd.Dir = p.dir
	cmd.Stdin, cmd.ExtraFiles = terminal, []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	// That this returns shows that nobody has the caller's output any more.
	if code, out, errs := ask(t, cmd); code != 0 || out+errs != "" {
		t.Fatalf("exit %d\n%s%s", code, out, errs)
	}
	theirs.Close()
	_ = ours.SetReadDeadline(time.Now().Add(guard))
	if n, err := ours.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("somebody holds the caller's descriptor: %d, %v", n, err)
	}
	s := p.status()
	if s.State != "running" || s.Ready != 2 {
		t.Errorf("the caller returned when the pool was %+v", s)
	}
	text, err := os.ReadFile(filepath.Join(p.dir, "web.pid"))
	if err != nil || string(text) != fmt.Sprintln(s.PID) {
		t.Errorf("pid file: %q, %v; want %d", text, err, s.PID)
	}
	p.alone(s.PID, cmd.Process.Pid)
	if code, _, errs := ask(t, p.fugue("upgrade", "web")); code != 0 {
		t.Fatalf("upgrade: exit %d\n%s", code, errs)
	}
	if code, _, errs := ask(t, p.fugue("reload", "web")); code != 0 {
		t.Fatalf("reload: exit %d\n%s", code, errs)
	}
	now := p.status()
	if now.PID != s.PID || now.Generation != 2 {
		t.Errorf("after an upgrade and a reload: %+v", now)
	}
	p.alone(s.PID, cmd.Process.Pid)
	for _, w := range now.Workers {
		if dir, _ := os.Readlink(fmt.Sprintf("/proc/%d/cwd", w.PID)); dir != p.dir {
			t.Errorf("worker %d is in %s, want %s", w.Slot, dir, p.dir)
		}
		if env, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", w.PID)); strings.Contains(string(env), "FUGUE_DAEMON") {
			t.Errorf("worker %d is told what only the master is", w.Slot)
		}
	}
}

// alone fails the test unless the process is as daemon(7) wants it.
func (p *pool) alone(pid, caller int) {
	p.t.Helper()
	proc := fmt.Sprintf("/proc/%d/", pid)
	text, err := os.ReadFile(proc + "stat")
	if err != nil {
		p.t.Fatal(err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	session, tty := fields[3], fields[4]
	if tty != "0" || session == strconv.Itoa(caller) || session == strconv.Itoa(pid) {
		p.t.Errorf("terminal %s, session %s of process %d that %d started", tty, session, pid, caller)
	}
	for fd := range 3 {
		if to, _ := os.Readlink(proc + "fd/" + strconv.Itoa(fd)); to != "/dev/null" {
			p.t.Errorf("fd %d is %s", fd, to)
		}
	}
	if dir, _ := os.Readlink(proc + "cwd"); dir != "/" {
		p.t.Errorf("it is in %s", dir)
	}
	status, err := os.ReadFile(proc + "status")
	if err != nil || !strings.Contains(string(status), "\nUmask:\t0022\n") {
		p.t.Errorf("umask: %v\n%s", err, status)
	}
}

// The caller of a daemon that cannot start gets the exit status and the reason
// that it would have had in the foreground.
func TestDaemonThatCannotStart(t *testing.T) {
	t.Parallel()
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { busy.Close() }) // after the parallel ones
	for name, c := range map[string]struct {
		words []string
		code  int
		want  string
	}{
		"worker broken":    {[]string{"-l", "@DIR/w.sock", "--", e2e.Testworker(t), "-exit", "3"}, 1, "the pool did not start: worker 1 "},
		"busy port":        {[]string{"-l", busy.Addr().String(), "--", e2e.Testworker(t)}, 1, "address already in use"},
		"missing config":   {[]string{"-c", "nowhere.toml"}, 78, "/nowhere.toml:1:1: error: "},
		"wrong key":        {[]string{"--restart.backoff", "x", "--", "sleep"}, 78, "--restart.backoff: error: "},
		"missing program":  {[]string{"--", "./nowhere"}, 78, "nowhere"},
		"no pid directory": {[]string{"--pid-file", "no/where.pid", "--", "sleep"}, 78, "there is no directory"},
		"wrong flag":       {[]string{"--worker", "3"}, 2, "did you mean --workers"},
		"nothing to run":   {nil, 2, "there is nothing to run"},
		"file as command":  {[]string{"web.toml"}, 2, "given as --config web.toml"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPool(t)
			run := []string{"run", "--name", "web", "-n", "1"}
			for _, word := range c.words {
				run = append(run, strings.ReplaceAll(word, "@DIR", p.dir))
			}
			cmd := p.fugue(run...)
			cmd.Dir = p.dir
			code, _, errs := ask(t, cmd)
			if code != c.code || !strings.Contains(errs, c.want) {
				t.Errorf("in the foreground: exit %d, want %d and %q in\n%s", code, c.code, c.want, errs)
			}
			cmd = p.fugue(slices.Insert(run, 1, "--daemonize")...)
			cmd.Dir = p.dir
			code, out, errs := ask(t, cmd)
			if code != c.code || !strings.Contains(errs, c.want) || out != "" {
				t.Errorf("exit %d, want %d and %q in\n%s%s", code, c.code, c.want, out, errs)
			}
			if code, _, _ := ask(t, p.fugue("status", "web")); code == 0 {
				t.Error("it runs all the same")
			}
		})
	}
}

// A caller that is interrupted takes the daemon along, and does not say that all
// is well.
func TestDaemonInterrupted(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	cmd := p.fugue(slices.Insert(p.words("-hang"), 1, "--daemonize")...)
	var errs strings.Builder
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	p.awaitState("starting")
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(guard):
		t.Fatal("the caller waits on")
	}
	if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(errs.String(), "was stopped before the pool was ready") {
		t.Errorf("exit %d\n%s", code, &errs)
	}
	if code, _, _ := ask(t, p.fugue("status", "web")); code != 3 {
		t.Errorf("status: exit %d", code)
	}
}

// awaitState returns the master's number when the pool is in a state.
func (p *pool) awaitState(state string) (pid int) {
	p.t.Helper()
	for late := time.Now().Add(guard); time.Now().Before(late); {
		var s control.Status
		_, out, _ := ask(p.t, p.fugue("status", "web", "-o", "json"))
		if json.Unmarshal([]byte(out), &s) == nil && s.State == state {
			return s.PID
		}
	}
	p.t.Fatalf("the pool is not %s", state)
	return 0
}

// A daemon that is killed before it is ready has not told why, which is said.
func TestDaemonKilled(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	cmd := p.fugue(slices.Insert(p.words("-hang"), 1, "--daemonize")...)
	var errs strings.Builder
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := p.awaitState("starting")
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 1 || !strings.Contains(errs.String(), fmt.Sprintf("the daemon (pid %d) ended before the pool was ready", pid)) {
		t.Errorf("%v\n%s", err, &errs)
	}
}

// systemd wants the program itself, and PID 1 is the container.
func TestDaemonRefused(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	cmd := p.fugue("run", "--name", "web", "--daemonize", "sleep", "1")
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET=/run/systemd/notify")
	if code, _, errs := ask(t, cmd); code != 2 || !strings.Contains(errs, "Type=notify wants fugue in the foreground") {
		t.Errorf("exit %d\n%s", code, errs)
	}
	cmd = p.fugue("run", "--name", "web", "--daemonize", "sleep", "1")
	cmd.SysProcAttr.Cloneflags = unix.CLONE_NEWPID
	if code, _, errs := ask(t, cmd); code != 2 || !strings.Contains(errs, "the container ends with it") {
		t.Errorf("as PID 1: exit %d\n%s", code, errs)
	}
}
