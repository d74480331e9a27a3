package loadtest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fugue/internal/testworker"
)

const commandEnv = "FUGUE_TEST_LOAD"

// TestMain lets the test binary be the load command as well.
func TestMain(m *testing.M) {
	if os.Getenv(commandEnv) != "" {
		os.Exit(Main(os.Stdin, os.Stdout))
	}
	os.Exit(m.Run())
}

const guard = 30 * time.Second

const goodAnswer = "HTTP/1.1 200 OK\r\nX-Version: v1\r\nX-Pid: 7\r\nContent-Length: 2\r\n\r\nok"

// serve answers every connection with f, after its first request was read.
func serve(t *testing.T, network string, f func(net.Conn, *bufio.Reader)) string {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		dir, err := os.MkdirTemp("", "f")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		address = filepath.Join(dir, "s")
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				in := bufio.NewReader(c)
				if _, err := http.ReadRequest(in); err == nil {
					f(c, in)
				}
			}()
		}
	}()
	return l.Addr().String()
}

func write(text string) func(net.Conn, *bufio.Reader) {
	return func(c net.Conn, _ *bufio.Reader) { io.WriteString(c, text) }
}

func closedPort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestEveryRequestHasItsClass(t *testing.T) {
	for _, tc := range []struct {
		name    string
		network string
		address func(t *testing.T) string
		want    Counts
	}{
		{"ok", "tcp", answering("tcp", write(goodAnswer)), Counts{Sent: 5, OK: 5}},
		{"ok over unix", "unix", answering("unix", write(goodAnswer)), Counts{Sent: 5, OK: 5}},
		{"refused", "tcp", closedPort, Counts{Sent: 5, Refused: 5}},
		{"no socket file", "unix", func(t *testing.T) string { return filepath.Join(t.TempDir(), "none") }, Counts{Sent: 5, Refused: 5}},
		{"reset", "tcp", answering("tcp", func(c net.Conn, _ *bufio.Reader) { c.(*net.TCPConn).SetLinger(0) }), Counts{Sent: 5, Reset: 5}},
		{"closed unanswered", "tcp", answering("tcp", func(net.Conn, *bufio.Reader) {}), Counts{Sent: 5, EOF: 5}},
		{"half an answer", "tcp", answering("tcp", write(goodAnswer[:len(goodAnswer)-1])), Counts{Sent: 5, EOF: 5}},
		{"half a head", "tcp", answering("tcp", write("HTTP/1.1 200")), Counts{Sent: 5, EOF: 5}},
		{"bad status", "tcp", answering("tcp", write("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")), Counts{Sent: 5, BadStatus: 5}},
		{"never", "tcp", answering("tcp", func(c net.Conn, in *bufio.Reader) { in.ReadByte() }), Counts{Sent: 5, TimedOut: 5}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			timeout := guard
			if tc.want.TimedOut > 0 {
				timeout = 200 * time.Millisecond
			}
			load, err := Start(t.Context(), Config{Network: tc.network, Address: tc.address(t), Max: 5, Timeout: timeout})
			if err != nil {
				t.Fatal(err)
			}
			<-load.done
			r := load.Stop()
			if diff := cmp.Diff(tc.want, r.New); diff != "" {
				t.Errorf("counts (-want +got):\n%s%v", diff, r)
			}
			if (r.Check() == nil) != (tc.want.OK == 5) {
				t.Errorf("Check says %v", r.Check())
			}
		})
	}
}

func answering(network string, f func(net.Conn, *bufio.Reader)) func(*testing.T) string {
	return func(t *testing.T) string { return serve(t, network, f) }
}

// A full queue of a unix socket answers EAGAIN where TCP would let one wait.
func TestFullUnixQueueIsWaitedFor(t *testing.T) {
	first := make(chan struct{})
	dir, err := os.MkdirTemp("", "f")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	setBacklog(t, l, 1)
	go func() {
		<-first
		_ = http.Serve(l, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	}()
	load, err := Start(t.Context(), Config{Network: "unix", Address: l.Addr().String(), Max: 30, Rate: 1000})
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(200*time.Millisecond, func() { close(first) })
	<-load.done
	if err := load.Stop().Check(); err != nil {
		t.Error(err)
	}
}

func setBacklog(t *testing.T, l net.Listener, n int) {
	t.Helper()
	raw, err := l.(*net.UnixListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) { err = listen(int(fd), n) }); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestKeepAliveClients(t *testing.T) {
	two := func(c net.Conn, in *bufio.Reader) { // a second request on the connection, then the end
		io.WriteString(c, goodAnswer)
		if _, err := http.ReadRequest(in); err == nil {
			io.WriteString(c, goodAnswer)
		}
	}
	// Between two requests the server has closed the connection, on a busy machine too.
	config := Config{Address: serve(t, "tcp", two), Rate: -1, KeepAlive: 2, KeepAliveEvery: 250 * time.Millisecond, Max: 12}
	load, err := Start(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	<-load.done
	r := load.Stop()
	if r.New.Sent != 0 || r.Kept.OK != 12 || r.Lost() != 0 {
		t.Error(r)
	}
	// Every second time the connection was found closed before it was used.
	if r.Kept.IdleClosed < 4 {
		t.Errorf("idle closed %d times, want about 5", r.Kept.IdleClosed)
	}
}

func TestKeepAliveClientsGoByConnectionClose(t *testing.T) {
	closing := strings.Replace(goodAnswer, "X-Pid", "Connection: close\r\nX-Pid", 1)
	load, err := Start(t.Context(), Config{Address: serve(t, "tcp", write(closing)), Rate: -1, KeepAlive: 1, KeepAliveEvery: time.Millisecond, Max: 20})
	if err != nil {
		t.Fatal(err)
	}
	<-load.done
	if r := load.Stop(); r.Kept.OK != 20 || r.Kept.IdleClosed != 0 {
		t.Error(r)
	}
}

// The account is the same whoever asks: this process or a command.
func TestCommand(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), commandEnv+"=1", "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	load, err := StartCommand(t.Context(), Config{Address: serve(t, "tcp", write(goodAnswer))}, cmd)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), guard)
	defer cancel()
	if err := load.Await(ctx, func(r *Report) bool { return r.Answered() >= 20 }); err != nil {
		t.Fatal(err)
	}
	r := load.Stop()
	if err := r.Check(); err != nil {
		t.Error(err)
	}
	v, ok := r.Saw("v1")
	if !ok || v.Count != r.New.OK || len(r.PIDs) != 1 || r.PIDs[0].Text != "7" {
		t.Error(r)
	}
	if r.Latency(1) < r.Latency(0.5) || r.Latency(0.5) <= 0 {
		t.Errorf("median %v, max %v", r.Latency(0.5), r.Latency(1))
	}
}

func TestACommandThatDiesIsNoGoodAccount(t *testing.T) {
	load, err := StartCommand(t.Context(), Config{Address: "127.0.0.1:1"}, exec.Command("/bin/sh", "-c", "read config; exit 3"))
	if err != nil {
		t.Fatal(err)
	}
	<-load.done
	if err := load.Stop().Check(); err == nil {
		t.Error("Check is content")
	}
}

func TestOnlyOwnTargets(t *testing.T) {
	for _, c := range []Config{
		{Address: "192.0.2.1:80"},
		{Address: "localhost:80"},
		{Address: "0.0.0.0:80"},
		{Network: "unix", Address: "s"},
		{Network: "udp", Address: "127.0.0.1:1"},
		{},
	} {
		if _, err := Start(t.Context(), c); err == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
}

func TestEndsByItselfInTime(t *testing.T) {
	load, err := Start(t.Context(), Config{Address: serve(t, "tcp", write(goodAnswer)), For: 50 * time.Millisecond, KeepAlive: 1})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-load.done:
	case <-time.After(guard):
		t.Fatal("still running")
	}
	if err := load.Await(t.Context(), func(*Report) bool { return false }); err == nil {
		t.Error("Await on a load that has ended says nothing")
	}
}

func TestScale(t *testing.T) {
	for _, tc := range []struct {
		env  string
		want int
	}{{"", 20}, {"1", 200}, {"0.5", 100}, {"0.0001", 1}, {"x", 20}, {"-1", 20}} {
		t.Setenv("FUGUE_TEST_SCALE", tc.env)
		if got := Scale(200); got != tc.want {
			t.Errorf("%q: %d, want %d", tc.env, got, tc.want)
		}
	}
}

// The header names must be those the worker sends.
func TestWorkersAnswerIsRead(t *testing.T) {
	answer := fmt.Sprintf("HTTP/1.1 200 OK\r\n%s: a\r\n%s: b\r\n%s: c\r\n%s: d\r\nContent-Length: 0\r\n\r\n",
		testworker.HeaderVersion, testworker.HeaderPID, testworker.HeaderSlot, testworker.HeaderGeneration)
	config, err := Config{Address: serve(t, "tcp", write(answer))}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	r := askOnce(config, "/")
	if r.Version != "a" || r.PID != "b" || r.Slot != "c" || r.Generation != "d" {
		t.Errorf("%+v", r)
	}
}
