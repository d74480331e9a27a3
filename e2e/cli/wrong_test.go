package cli_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What cannot run is said in one line, with the reason that the kernel gives,
// and before anything is started.
func TestRunRefused(t *testing.T) {
	p := &pool{t: t, dir: t.TempDir()}
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(p.dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	plain := file("plain", "", 0o644)
	script := file("script", "#!/no/such/shell\n", 0o755)
	noise := file("noise", "noise\n", 0o755)
	for _, c := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"no command", []string{"/no/such/program"}, 78, "no such file or directory"},
		{"not in PATH", []string{"nosuchprogram"}, 78, "not found in PATH"},
		{"not executable", []string{plain}, 78, "permission denied"},
		{"a directory", []string{p.dir}, 78, "is a directory"},
		{"no interpreter", []string{script}, 78, "/no/such/shell"},
		{"no program", []string{noise}, 1, "execute " + noise + ": exec format error"},
		{"no directory", []string{"--directory", "/no/dir", "sleep", "9"}, 78, `directory "/no/dir": no such file`},
		{"no user", []string{"--user", "nosuch", "sleep", "9"}, 78, `no such user`},
		{"no group", []string{"--group", "nosuch", "sleep", "9"}, 78, `no such group`},
		{"no environment file", []string{"--environment_files", "/no/env", "sleep", "9"}, 78, `no such file`},
		{"unknown placeholder", []string{"sleep", "{fd:htp}"}, 78, "{fd:htp}"},
		{"unknown key", []string{"--set", "wokers=3", "sleep", "9"}, 78, "did you mean workers?"},
		{"foreign address", []string{"-l", "far=192.0.2.1:1", "sleep", "9"}, 1, "cannot assign requested address"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out, errs := ask(t, p.fugue(append([]string{"run", "--name", "web", "-l", "http=127.0.0.1:0"}, c.args...)...))
			if code != c.code || !strings.Contains(errs, c.says) || out != "" {
				t.Errorf("exit %d, want %d, and %q in\n%s%s", code, c.code, c.says, out, errs)
			}
			if n := strings.Count(errs, "\n"); c.code == 78 && n != 1 {
				t.Errorf("%d lines:\n%s", n, errs)
			}
		})
	}
	long := p.fugue("run", "--name", "web", "sleep", "9")
	deep := filepath.Join(p.dir, strings.Repeat("d", 100))
	if err := os.Mkdir(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	long.Env = append(long.Env, "RUNTIME_DIRECTORY="+deep+"/fugue/web")
	if code, _, errs := ask(t, long); code != 1 || !strings.Contains(errs, "sockets allow 107") {
		t.Errorf("a path that is too long: exit %d\n%s", code, errs)
	}
}

// A set of sockets that is not what it says is an error, not none: fugue would
// bind what somebody else believes to have handed over.
func TestMalformedSockets(t *testing.T) {
	p := &pool{t: t, dir: t.TempDir()}
	for set, says := range map[string]string{
		"LISTEN_FDS=abc":                    `LISTEN_FDS="abc" is not a count`,
		"LISTEN_FDS=3":                      "fd 3 is not open",
		"LISTEN_FDS=1 LISTEN_FDNAMES=a:b:c": "has 3 names",
	} {
		run := p.fugue("run", "--name", "web", "sleep", "9")
		run.Args = []string{"sh", "-c", "export LISTEN_PID=$$ " + set + `; exec "$0" run --name web sleep 9`, run.Path}
		run.Path = "/bin/sh"
		if code, _, errs := ask(t, run); code != 1 || !strings.Contains(errs, says) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s: exit %d\n%s", set, code, errs)
		}
	}
}

// A set may hold anything that a .socket unit can make, a FIFO for one: workers
// get it, and as it may be a mistake too, it is said.
func TestNoSocket(t *testing.T) {
	words := []string{"--restart.min_uptime", "0", "--ready.when", "started", "sleep", "1000"}
	p := newPool(t)
	p.begin(append([]string{"run", "--name", "web", "-l", p.dir + "/web.sock"}, words...)...)
	if text := p.begun; strings.Contains(text, "no socket") {
		t.Errorf("a pool with nothing but a socket says\n%s", text)
	}

	p = newPool(t)
	p.run = p.fugue()
	p.run.Args = append([]string{"sh", "-c",
		`exec 3</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=nothing exec "$0" run --name web -l "$@"`, p.run.Path, p.dir + "/web.sock"}, words...)
	p.run.Path = "/bin/sh"
	p.begin()
	s := p.status()
	if len(s.Listeners) != 2 || len(s.Workers) != 1 {
		t.Fatalf("%+v", s)
	}
	got, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", s.Workers[0].PID, s.Listeners[1].FD))
	if err != nil || got != os.DevNull {
		t.Errorf("the worker has %q, %v: %+v", got, err, s.Listeners)
	}
	if n := strings.Count(p.begun, `passed as "nothing", is /dev/null and no socket`); n != 1 {
		t.Errorf("said %d times:\n%s", n, p.begun)
	}
}

// A second pool of the name, and a pool on the same address.
func TestTwoOfAKind(t *testing.T) {
	p := start(t)
	before := p.status()
	pid := fmt.Sprintf("(pid %d)", p.run.Process.Pid)
	if code, _, errs := ask(t, p.fugue("run", "--name", "web", "sleep", "9")); code != 1 || errs != "fugue: pool web runs already "+pid+"\n" {
		t.Errorf("a second pool: exit %d\n%s", code, errs)
	}
	other := p.fugue("run", "--name", "other", "-l", p.dir+"/web.sock", "sleep", "9")
	other.Env = append(other.Env, "RUNTIME_DIRECTORY="+p.dir+"/fugue/other")
	if code, _, errs := ask(t, other); code != 1 || !strings.Contains(errs, p.dir+"/web.sock") || !strings.Contains(errs, pid) {
		t.Errorf("a busy address: exit %d\n%s", code, errs)
	}
	if code, _, errs := ask(t, p.fugue("cancel", "web")); code != 1 || !strings.Contains(errs, "no reload is under way") {
		t.Errorf("cancel of nothing: exit %d\n%s", code, errs)
	}
	p.untouched(before)
}

// Nothing that is sent to its sockets moves the pool or makes it deaf.
func TestGarbage(t *testing.T) {
	p := start(t)
	before := p.status()
	inbox, err := net.Dial("unixgram", p.dir+"/fugue/web/notify")
	if err != nil {
		t.Fatal(err)
	}
	defer inbox.Close()
	for _, datagram := range []string{"\xff\xfe", strings.Repeat("A=1\n", 5000), "READY=1", "STOPPING=1", ""} {
		if _, err := inbox.Write([]byte(datagram)); err != nil {
			t.Fatal(err)
		}
	}
	for _, request := range []string{
		"\x00\x01\r\n\r\n",
		"GET /" + strings.Repeat("a", 100_000) + " HTTP/1.1\r\n\r\n",
		"POST /scale HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nnone",
		"POST /reload HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("a", 100_000),
	} {
		c := p.dial()
		_, _ = c.Write([]byte(request)) // it may be cut off before the end
		answer := make([]byte, 64)
		if n, err := c.Read(answer); err != nil || !strings.HasPrefix(string(answer[:n]), "HTTP/1.1 4") {
			t.Errorf("%.20q: %q, %v", request, answer[:n], err)
		}
		c.Close()
	}
	// One that hangs in the middle of its request holds nobody up, and is cut.
	hanging := p.dial()
	defer hanging.Close()
	if _, err := hanging.Write([]byte("POST /reload HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")); err != nil {
		t.Fatal(err)
	}
	p.untouched(before)
	for b := make([]byte, 512); ; {
		if _, err := hanging.Read(b); os.IsTimeout(err) {
			t.Fatal("a hanging request is not cut")
		} else if err != nil {
			break
		}
	}
	p.untouched(before)
	p.await("dropped a notification of process")
	if dropped := p.status().Strangers; dropped == 0 {
		t.Error("no stranger's datagram was counted")
	}
}

func (p *pool) dial() net.Conn {
	p.t.Helper()
	c, err := net.Dial("unix", p.dir+"/fugue/web/control.sock")
	if err != nil {
		p.t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(guard))
	return c
}

// Whoever read the output has gone: neither the master nor the workers die of it.
func TestReaderGoes(t *testing.T) {
	p := start(t, "-stderr", "still here", "-stdout", "and here")
	p.out.Close()
	for range 2 {
		if code, _, errs := ask(t, p.fugue("reload", "web")); code != 0 {
			t.Fatalf("reload: exit %d\n%s", code, errs)
		}
	}
	if s := p.status(); s.Generation != 3 || s.PID != p.run.Process.Pid || s.Ready != 2 {
		t.Errorf("%+v", s)
	}
}

// The signals of the documentation, at the real process.
func TestSignals(t *testing.T) {
	p := start(t, "-stderr", "a line of its own")
	for _, c := range []struct {
		signal syscall.Signal
		says   string
	}{
		{syscall.SIGTTIN, ": 3 workers"},
		{syscall.SIGTTOU, ": 2 workers"},
		{syscall.SIGUSR1, "USR1"},
		{syscall.SIGHUP, "generation 2 serves"},
		{syscall.SIGUSR2, "generation 3 serves"},
		{syscall.SIGWINCH, "all workers stop"},
		{syscall.SIGHUP, "generation 4 serves"},
		{syscall.SIGTERM, ": stopped"},
	} {
		if err := p.run.Process.Signal(c.signal); err != nil {
			t.Fatal(err)
		}
		p.await(c.says)
	}
	if err := p.run.Wait(); err != nil {
		t.Error(err)
	}
}
