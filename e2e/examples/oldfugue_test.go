package examples_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"fugue/e2e"
)

// said is what a worker of testdata/old.js answers.
type said struct {
	PID, Worker, UID, GID, FDs int
	IsWorker, IsMaster         bool
	Dir, Tmp                   string
	Children                   []string
}

func (p *pool) ask() (s said) {
	p.t.Helper()
	text := p.hello()
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		p.t.Fatalf("answer %q: %v", text, err)
	}
	return s
}

// askAnother asks until another worker answers than one that has been told to
// stop: until that acts on it, it may have taken a connection more.
func (p *pool) askAnother(old int) (s said) {
	p.t.Helper()
	for deadline := time.Now().Add(guard); time.Now().Before(deadline); {
		if s = p.ask(); s.PID != old {
			return s
		}
	}
	p.t.Fatalf("worker %d answers on", old)
	return s
}

// old is testdata/old.js with the arguments of fugue.start after the server; the
// last are options.
func old(t *testing.T, args ...any) *pool {
	t.Helper()
	e2e.NeedProgram(t, "node")
	p := &pool{t: t, dir: tempDir(t)}
	p.name = "old-" + strings.ReplaceAll(filepath.Base(fmt.Sprint(args[0])), " ", "-")
	options, _ := args[len(args)-1].(map[string]any)
	if options == nil {
		options = map[string]any{}
		args = append(args, options)
	}
	options["verbose"] = true
	options["set"] = map[string]any{"restart.min_uptime": "0"}
	text, err := json.Marshal(args)
	if err != nil {
		t.Fatal(err)
	}
	p.env = []string{"OLD=" + string(text)}
	return p
}

func (p *pool) script() string {
	p.t.Helper()
	path, err := filepath.Abs("testdata/old.js")
	if err != nil {
		p.t.Fatal(err)
	}
	return path
}

func (p *pool) serve() *pool {
	p.t.Helper()
	p.start("/usr/bin/node", p.script())
	p.await(" serves")
	return p
}

// The example of the old README, word for word but for its port.
func TestReadmeOfTheOldFugue(t *testing.T) {
	t.Parallel()
	e2e.NeedProgram(t, "node")
	p := &pool{t: t, dir: tempDir(t), name: "readme-0"}
	script := filepath.Join(p.dir, "readme.js")
	if err := os.WriteFile(script, []byte(`var fugue = require('fugue'),
    net =   require('net');

var server = net.createServer(function(conn) {
  conn.end("Hello from worker " + fugue.workerId());
});

fugue.start(server, 0, null, 2, {verbose : true});
`), 0o600); err != nil {
		t.Fatal(err)
	}
	p.start("/usr/bin/node", script)
	p.await("generation 1 serves")
	if got := p.hello(); got != "Hello from worker 1" && got != "Hello from worker 2" {
		t.Errorf("answer %q", got)
	}
}

func TestOneWorker(t *testing.T) {
	t.Parallel()
	p := old(t, 0, "localhost", 1).serve()
	p.heard("master started, 1 workers, " + p.dir + "/fugue/old-0/control.sock")
	s := p.ask()
	if s.Worker != 1 || !s.IsWorker || s.IsMaster || len(s.Children) > 0 || !slices.Equal(p.pids(), []int{s.PID}) {
		t.Errorf("%+v", s)
	}
}

func TestManyWorkersAreAllReached(t *testing.T) {
	t.Parallel()
	p := old(t, 0, "127.0.0.1", 4).serve()
	seen := make(map[int]int)
	address := p.status().Listeners[0].Address
	for deadline := time.Now().Add(guard); len(seen) < 4 && time.Now().Before(deadline); {
		var all []net.Conn
		for range 20 { // at once: one worker alone could answer all that come one by one
			all = append(all, dial(t, "tcp", address))
		}
		for _, c := range all {
			var s said
			if err := json.NewDecoder(c).Decode(&s); err != nil {
				t.Fatal(err)
			}
			seen[s.PID] = s.Worker
			c.Close()
		}
	}
	if pids := p.pids(); len(seen) != 4 || len(pids) != 4 {
		t.Errorf("reached %v of %v", seen, pids)
	}
}

// Connections wait, and are served once there is a worker.
func TestZeroWorkers(t *testing.T) {
	t.Parallel()
	p := old(t, 0, "127.0.0.1", 0)
	p.start("/usr/bin/node", p.script())
	p.await("master started, 0 workers")
	c := p.dial()
	_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if n, err := c.Read(make([]byte, 1)); n != 0 || !os.IsTimeout(err) {
		t.Errorf("read %d, %v; want nothing, for as long as nobody serves", n, err)
	}
	p.fugue("scale", p.name, "1")
	_ = c.SetReadDeadline(time.Now().Add(guard))
	if text, err := io.ReadAll(c); err != nil || !strings.Contains(string(text), `"worker":1`) {
		t.Errorf("answer %q, %v", text, err)
	}
}

func TestUnixSocketOfTheOldFugue(t *testing.T) {
	t.Parallel()
	path := filepath.Join(tempDir(t), "web.sock")
	p := old(t, path, 2).serve()
	s := p.ask()
	p.reload()
	if next := p.askAnother(s.PID); next.PID == 0 {
		t.Errorf("worker %d answers before the reload, %+v after it", s.PID, next)
	}
	if p.stop(); p.run.ProcessState.ExitCode() == 0 {
		if _, err := os.Stat(path); err == nil {
			t.Error("the socket's file is left")
		}
	}
}

func TestWorkingPath(t *testing.T) {
	t.Parallel()
	dir := tempDir(t)
	p := old(t, 0, "127.0.0.1", 1, map[string]any{"working_path": dir}).serve()
	if s := p.ask(); s.Dir != dir {
		t.Errorf("the worker is in %s, want %s", s.Dir, dir)
	}
}

func TestTmpPath(t *testing.T) {
	t.Parallel()
	e2e.NeedRoot(t)
	dir := tempDir(t)
	p := old(t, 0, "127.0.0.1", 1, map[string]any{"tmp_path": dir, "uid": "nobody"}).serve()
	if s := p.ask(); !strings.HasPrefix(s.Tmp, dir+"/") {
		t.Errorf("TMPDIR is %s, want one in %s", s.Tmp, dir)
	}
	p.stop()
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// Two files: what the workers write, and what the master does.
func TestLogFileAndMasterLogFile(t *testing.T) {
	t.Parallel()
	dir := tempDir(t)
	workers, master := filepath.Join(dir, "workers.log"), filepath.Join(dir, "master.log")
	p := old(t, 0, "127.0.0.1", 1, map[string]any{"log_file": workers, "master_log_file": master})
	p.start("/usr/bin/node", p.script())
	p.await("master started")
	p.stop()
	for path, want := range map[string]string{workers: "worker started", master: "generation 1 serves"} {
		if text, err := os.ReadFile(path); err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s lacks %q: %v\n%s", path, want, err, text)
		}
	}
	if text, err := os.ReadFile(workers); err != nil || strings.Contains(string(text), "generation 1 serves") {
		t.Errorf("the workers' file has the master's lines: %v\n%s", err, text)
	}
}

// Without a file of its own the master writes to that of the workers.
func TestLogFile(t *testing.T) {
	t.Parallel()
	log := filepath.Join(tempDir(t), "all.log")
	p := old(t, 0, "127.0.0.1", 1, map[string]any{"log_file": log})
	p.start("/usr/bin/node", p.script())
	p.await("master started")
	p.stop()
	text, err := os.ReadFile(log)
	if err != nil || !strings.Contains(string(text), "worker started") || !strings.Contains(string(text), "generation 1 serves") {
		t.Errorf("%v\n%s", err, text)
	}
}

func TestSetuidAndSetgid(t *testing.T) {
	t.Parallel()
	e2e.NeedRoot(t)
	p := old(t, 0, "127.0.0.1", 1, map[string]any{"uid": "nobody", "gid": 65533}).serve()
	if s := p.ask(); s.UID != 65534 || s.GID != 65533 {
		t.Errorf("the worker is %d:%d", s.UID, s.GID)
	}
}

// USR2 to the process that was started replaces the master and all workers,
// while connections come all the time.
func TestReloadByUSR2(t *testing.T) {
	t.Parallel()
	p := old(t, 0, "127.0.0.1", 2).serve()
	before, address := p.pids(), p.status().Listeners[0].Address
	stop, ended := make(chan struct{}), make(chan error)
	go func() {
		for {
			select {
			case <-stop:
				ended <- nil
				return
			default:
			}
			c, err := net.DialTimeout("tcp", address, guard)
			if err == nil {
				_ = c.SetDeadline(time.Now().Add(guard))
				var s said
				err = json.NewDecoder(c).Decode(&s)
				c.Close()
			}
			if err != nil {
				ended <- err
				return
			}
		}
	}()
	if err := p.run.Process.Signal(syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	p.await("generation 2 serves")
	close(stop)
	if err := <-ended; err != nil {
		t.Errorf("a connection was lost: %v", err)
	}
	for _, w := range p.status().Workers {
		if w.State != "stopping" && slices.Contains(before, w.PID) {
			t.Errorf("worker %d is from before", w.PID)
		}
	}
}

func (p *pool) hold() (net.Conn, *bufio.Reader) {
	p.t.Helper()
	c := p.dial()
	in := bufio.NewReader(c)
	if line, err := in.ReadString('\n'); err != nil || !strings.HasSuffix(line, " holds\n") {
		p.t.Fatalf("%q, %v", line, err)
	}
	return c, in
}

func TestWorkersWithOpenConnectionsFinish(t *testing.T) {
	t.Parallel()
	p := old(t, 0, "127.0.0.1", 1)
	p.env = append(p.env, "HOLD=1")
	p.serve()
	c, in := p.hold()
	p.reload() // does not wait for the old worker
	if _, err := io.WriteString(c, "go on\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := in.ReadString('\n'); line != "done\n" {
		t.Errorf("%q, %v", line, err)
	}
	c.Close()
	p.await("stopped after")
}

// watch holds processes by pidfds, which no number used again can pass for. A
// worker that was stopping when it was told of may have ended.
func watch(t *testing.T, pids []int) (fds []int) {
	t.Helper()
	for _, pid := range pids {
		fd, err := unix.PidfdOpen(pid, 0)
		if errors.Is(err, unix.ESRCH) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		fds = append(fds, fd)
	}
	return fds
}

func awaitEnds(t *testing.T, fds []int) {
	t.Helper()
	for _, fd := range fds {
		for deadline := time.Now().Add(guard); ; {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 1000)
			if n == 1 {
				break
			}
			if err != nil && err != unix.EINTR || time.Now().After(deadline) {
				t.Fatalf("a process lives on: %v", err)
			}
		}
	}
}

// Whichever of the two processes in front is killed, nothing is left.
func TestWorkersEndAfterSuddenMasterDeath(t *testing.T) {
	for _, who := range []string{"fugue", "node"} {
		t.Run(who, func(t *testing.T) {
			t.Parallel()
			p := old(t, 0, "127.0.0.1", 2).serve()
			master := p.status().PID
			fds := watch(t, append(p.pids(), master))
			victim := p.run.Process.Pid
			if who == "fugue" {
				victim = master
			}
			if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			awaitEnds(t, fds)
			if code := p.end(); code == 0 {
				t.Error("the script ends well")
			}
		})
	}
}

func mode(t *testing.T, path string) os.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

func TestControlSocketIsProtected(t *testing.T) {
	t.Parallel()
	e2e.NeedRoot(t)
	p := old(t, 0, "127.0.0.1", 1).serve()
	line := p.heard("master started")
	path := line[strings.LastIndex(line, " ")+1 : len(line)-1]
	if got := mode(t, path); got != 0o660 {
		t.Errorf("%s has mode %o, want 660", path, got)
	}
	as := p.command("/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", fugueBinary(t), "status", p.name)
	if text, err := as.CombinedOutput(); err == nil {
		t.Errorf("nobody may ask: %s", text)
	}
}

func TestUnusedSocketsAreRemoved(t *testing.T) {
	t.Parallel()
	p := old(t, 0, "127.0.0.1", 1).serve()
	p.stop()
	left, err := filepath.Glob(filepath.Join(p.dir, "fugue", p.name, "*.sock"))
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestStartThenStopLetsTheScriptEnd(t *testing.T) {
	t.Parallel()
	p := old(t, 0, "127.0.0.1", 1)
	p.env = append(p.env, "STOP=1")
	p.start("/usr/bin/node", p.script())
	if code := p.end(); code != 0 || !strings.Contains(p.text.String(), "stopped\n") {
		t.Errorf("the script ended with %d", code)
	}
}

func TestOptionWithoutAMeaning(t *testing.T) {
	t.Parallel()
	p := old(t, 0, "127.0.0.1", 2, map[string]any{"forever": true}).serve()
	p.stop()
	if n := strings.Count(p.text.String(), "option forever has no meaning any more"); n != 1 {
		t.Errorf("it says so %d times", n)
	}
}

func TestWhatStartRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args []any
		want string
	}{
		{[]any{0, nil, -1, map[string]any{}}, "-1 is no number of workers"},
		{[]any{70000, nil, 1, map[string]any{}}, "70000 is no port"},
		{[]any{0, nil, 1, map[string]any{"uid": true}}, "option uid is a boolean, want a name or number"},
		{[]any{0, nil, 1, map[string]any{"binary": "/nowhere/fugue"}}, "FUGUE_BINARY"},
	} {
		p := old(t, c.args...)
		p.start("/usr/bin/node", p.script())
		if code := p.end(); code == 0 || !strings.Contains(p.text.String(), c.want) {
			t.Errorf("%v: exit %d, want %q in\n%s", c.args, code, c.want, &p.text)
		}
	}
}
