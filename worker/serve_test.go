package worker_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"fugue/internal/loadtest"
	"fugue/internal/testworker"
)

const workerEnv = "FUGUE_TEST_WORKER"

// TestMain lets the test binary be the worker as well.
func TestMain(m *testing.M) {
	if os.Getenv(workerEnv) != "" {
		if program, ours := programs[strings.Join(os.Args[1:], " ")]; ours {
			os.Exit(program())
		}
		os.Exit(testworker.Main(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// guard bounds every wait of a test that should have ended long before.
const guard = 30 * time.Second

type process struct {
	*exec.Cmd
	notify *net.UnixConn
	ended  chan error
}

// start runs a testworker on the sockets and waits until it is ready.
func start(t *testing.T, sockets []*os.File, args ...string) *process {
	t.Helper()
	dir, err := os.MkdirTemp("", "f")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "n")
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { notify.Close() })

	// LISTEN_PID is the worker's own number, known only after the fork.
	cmd := exec.Command("/bin/sh", append([]string{"-c", `LISTEN_PID=$$ exec "$@"`, "sh", "/proc/self/exe"}, args...)...)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Args[4] = self
	names := make([]string, len(sockets))
	for i := range names {
		names[i] = "http"
	}
	cmd.Env = append(os.Environ(), workerEnv+"=1", "NOTIFY_SOCKET="+path,
		"GORACE=atexit_sleep_ms=0", // else every worker of a race build ends a second late
		"LISTEN_FDS="+string(rune('0'+len(sockets))), "LISTEN_FDNAMES="+strings.Join(names, ":"))
	cmd.ExtraFiles = sockets
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{Cmd: cmd, notify: notify, ended: make(chan error, 1)}
	go func() { p.ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	p.await(t, "READY=1")
	return p
}

// said is the next datagram of the worker.
func (p *process) said(t *testing.T) string {
	t.Helper()
	_ = p.notify.SetReadDeadline(time.Now().Add(guard))
	buf := make([]byte, 4096)
	n, err := p.notify.Read(buf)
	if err != nil {
		t.Fatalf("the worker says nothing: %v", err)
	}
	return string(buf[:n])
}

const ping = "WATCHDOG=1"

// await takes pings for granted.
func (p *process) await(t *testing.T, state string) {
	t.Helper()
	got := p.said(t)
	for got == ping {
		got = p.said(t)
	}
	if got != state {
		t.Fatalf("worker said %q, want %s", got, state)
	}
}

// term sends the stop signal and waits until the worker has taken it.
func (p *process) term(t *testing.T) {
	t.Helper()
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.await(t, "STOPPING=1")
}

func (p *process) wantExit(t *testing.T, want int) {
	t.Helper()
	select {
	case err := <-p.ended:
		var exit *exec.ExitError
		got := 0
		if errors.As(err, &exit) {
			got = exit.ExitCode()
		}
		if got != want {
			t.Fatalf("worker ended with %d (%v), want %d", got, err, want)
		}
	case <-time.After(guard):
		t.Fatal("the worker did not end")
	}
}

func tcp(t *testing.T) (*net.TCPListener, *os.File) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close(); l.Close() })
	return l.(*net.TCPListener), f
}

type client struct {
	net.Conn
	in *bufio.Reader
}

func connect(t *testing.T, addr net.Addr) *client {
	t.Helper()
	c, err := net.Dial(addr.Network(), addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(guard))
	return &client{c, bufio.NewReader(c)}
}

func (c *client) send(t *testing.T, path string) {
	t.Helper()
	if _, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
}

func (c *client) answer(t *testing.T) *http.Response {
	t.Helper()
	r, err := http.ReadResponse(c.in, nil)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		t.Fatal(err)
	}
	return r
}

// accepted asks on a second connection: the one before it in the queue has been
// accepted when it is answered.
func accepted(t *testing.T, addr net.Addr) {
	t.Helper()
	c := connect(t, addr)
	c.send(t, "/")
	c.answer(t)
	c.Close()
}

func TestRequestAfterTheStopSignalOnAnAcceptedConnection(t *testing.T) {
	l, f := tcp(t)
	w := start(t, []*os.File{f})
	c := connect(t, l.Addr())
	accepted(t, l.Addr())
	w.term(t)
	c.send(t, "/")
	if r := c.answer(t); r.StatusCode != 200 || !r.Close {
		t.Errorf("answer %s, close %v; want 200 with Connection: close", r.Status, r.Close)
	}
	w.wantExit(t, 0)
}

func TestKeptAliveConnectionGetsItsNextAnswerWithClose(t *testing.T) {
	l, f := tcp(t)
	w := start(t, []*os.File{f})
	c := connect(t, l.Addr())
	c.send(t, "/")
	if r := c.answer(t); r.Close {
		t.Fatal("Connection: close before any stop")
	}
	w.term(t)
	c.send(t, "/")
	if r := c.answer(t); r.StatusCode != 200 || !r.Close {
		t.Errorf("answer %s, close %v; want 200 with Connection: close", r.Status, r.Close)
	}
	w.wantExit(t, 0)
}

func TestRequestInFlightIsAnswered(t *testing.T) {
	l, f := tcp(t)
	w := start(t, []*os.File{f})
	c := connect(t, l.Addr())
	c.send(t, "/slow?ms=300")
	accepted(t, l.Addr())
	w.term(t)
	if r := c.answer(t); r.StatusCode != 200 {
		t.Errorf("answer %s", r.Status)
	}
	c.Close() // or the worker waits for its next request
	w.wantExit(t, 0)
}

func TestIdleConnectionsDoNotHoldTheStopUp(t *testing.T) {
	l, f := tcp(t)
	w := start(t, []*os.File{f}, "-idle-grace", "50ms")
	kept := connect(t, l.Addr())
	kept.send(t, "/")
	kept.answer(t)
	w.term(t)
	w.wantExit(t, 0)
	if _, err := kept.in.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("the idle connection ended with %v, want EOF", err)
	}
}

// While a slow answer keeps the worker, nobody must be let in to wait in a queue
// that nobody serves: with the last copy closed, connections are refused.
func TestStoppingLetsGoOfTheSocket(t *testing.T) {
	l, f := tcp(t)
	w := start(t, []*os.File{f})
	addr := l.Addr()
	slow := connect(t, addr)
	slow.send(t, "/slow?ms=500")
	accepted(t, addr)
	f.Close()
	l.Close()
	w.term(t)
	for deadline := time.Now().Add(guard); ; {
		c, err := net.Dial("tcp", addr.String())
		if errors.Is(err, syscall.ECONNREFUSED) {
			break
		}
		if err == nil {
			c.Close()
		}
		if time.Now().After(deadline) {
			t.Fatalf("still open: %v", err)
		}
	}
	select {
	case err := <-w.ended:
		t.Fatalf("the worker was gone before the look: %v", err)
	default:
	}
	if r := slow.answer(t); r.StatusCode != 200 {
		t.Errorf("answer %s", r.Status)
	}
	slow.Close()
	w.wantExit(t, 0)
}

func TestUnixSocketFileSurvives(t *testing.T) {
	dir, err := os.MkdirTemp("", "f")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	other, otherFile := tcp(t) // both are served
	w := start(t, []*os.File{f, otherFile})
	accepted(t, l.Addr())
	accepted(t, other.Addr())
	w.term(t)
	w.wantExit(t, 0)
	if _, err := os.Stat(filepath.Join(dir, "s")); err != nil {
		t.Error(err)
	}
}

// TestRestartsLoseNothing rolls workers on one socket under load: the new one
// is ready before the old one is told to stop.
func TestRestartsLoseNothing(t *testing.T) {
	l, f := tcp(t)
	w := start(t, []*os.File{f}, "-version", "v0")
	load, err := loadtest.Start(context.Background(), loadtest.Config{
		Address: l.Addr().String(), Paths: []string{"/", "/", "/slow?ms=40"}, KeepAlive: 10,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), guard)
	defer cancel()
	for range loadtest.Scale(50) {
		next := start(t, []*os.File{f}, "-version", "v1")
		w.term(t)
		w.wantExit(t, 0)
		w = next
		answered := 0
		if err := load.Await(ctx, func(r *loadtest.Report) bool {
			if answered == 0 {
				answered = r.Answered()
			}
			return r.Answered() >= answered+30
		}); err != nil {
			t.Fatal(err)
		}
	}
	r := load.Stop()
	t.Log(r)
	if err := r.Check(); err != nil {
		t.Error(err)
	}
	if r.Kept.IdleClosed > 0 {
		t.Errorf("%d kept-alive connections were closed between requests", r.Kept.IdleClosed)
	}
	w.term(t)
	w.wantExit(t, 0)
}
