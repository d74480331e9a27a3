package worker_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"time"
)

func (c *client) line(t *testing.T) string {
	t.Helper()
	line, err := c.in.ReadString('\n')
	if err != nil {
		t.Fatalf("no line: %v", err)
	}
	return line
}

func (c *client) wantEOF(t *testing.T) {
	t.Helper()
	if b, err := c.in.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("%q, %v; want the end of the connection", b, err)
	}
}

// A websocket is known to its program alone, which is told and waited for.
func TestHijackedConnectionsAreTold(t *testing.T) {
	for _, how := range []string{"by hook", "by context"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			l, f := tcp(t)
			w := start(t, []*os.File{f}, "hijack", how)
			var all []*client
			for range 20 {
				c := connect(t, l.Addr())
				c.send(t, "/")
				c.line(t)
				all = append(all, c)
			}
			w.term(t)
			for _, c := range all {
				if got := c.line(t); got != goodbye {
					t.Errorf("got %q", got)
				}
				c.wantEOF(t)
			}
			w.wantExit(t, 0)
		})
	}
}

// One that does not listen to that is closed at the deadline, and it is said.
func TestDeafHijackedConnectionIsCutOff(t *testing.T) {
	t.Parallel()
	l, f := tcp(t)
	w := start(t, []*os.File{f}, "hijack", "deaf")
	c := connect(t, l.Addr())
	c.send(t, "/")
	c.line(t)
	w.term(t)
	c.wantEOF(t)
	w.wantExit(t, 1)
}

func TestKeptAliveTLSConnectionGetsItsNextAnswerWithClose(t *testing.T) {
	t.Parallel()
	l, f := tcp(t)
	w := start(t, []*os.File{f}, "tls", "http/1.1")
	raw := connect(t, l.Addr())
	secure := tls.Client(raw.Conn, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // its certificate is nobody's
	c := &client{Conn: secure, in: bufio.NewReader(secure)}
	c.send(t, "/")
	if r := c.answer(t); r.Close {
		t.Fatal("Connection: close before any stop")
	}
	late := connect(t, l.Addr()) // has not even begun its handshake
	next := connect(t, l.Addr())
	tls1 := tls.Client(next.Conn, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // as above
	if err := tls1.Handshake(); err != nil {                             // so late was accepted, before next
		t.Fatal(err)
	}
	tls1.Close()
	w.term(t)
	c.send(t, "/")
	if r := c.answer(t); r.StatusCode != 200 || !r.Close {
		t.Errorf("answer %s, close %v; want 200 with Connection: close", r.Status, r.Close)
	}
	tls2 := tls.Client(late.Conn, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // as above
	d := &client{Conn: tls2, in: bufio.NewReader(tls2)}
	d.send(t, "/")
	if r := d.answer(t); r.StatusCode != 200 || !r.Close {
		t.Errorf("answer %s, close %v; want 200 with Connection: close", r.Status, r.Close)
	}
	w.wantExit(t, 0)
}

// In HTTP/2 the last answer brings a GOAWAY: the client's library makes its next
// request on another connection, and none fails.
func TestHTTP2IsToldByGoAway(t *testing.T) {
	t.Parallel()
	l, f := tcp(t)
	w := start(t, []*os.File{f}, "tls", "h2")
	dials := make(chan string, 10)
	get := func(c *http.Client) (proto string) {
		t.Helper()
		r, err := c.Get("https://" + l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		if _, err := io.Copy(io.Discard, r.Body); err != nil || r.StatusCode != 200 {
			t.Fatal(r.Status, err)
		}
		return r.Proto
	}
	c := &http.Client{Timeout: guard, Transport: &http.Transport{
		ForceAttemptHTTP2: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // its certificate is nobody's
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			dials <- addr
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	}}
	if proto := get(c); proto != "HTTP/2.0" {
		t.Fatalf("%s, want HTTP/2.0", proto)
	}
	get(c)
	next := start(t, []*os.File{f}, "tls", "h2")
	w.term(t)
	get(c) // by the old worker, which then says goodbye
	w.wantExit(t, 0)
	get(c)
	if n := len(dials); n != 2 {
		t.Errorf("%d connections, want one to each worker", n)
	}
	next.term(t)
	c.CloseIdleConnections()
	next.wantExit(t, 0)
}

// The first request is waited for longer than the next one: nobody may have
// answered this client anything yet.
func TestFirstRequestIsWaitedForBeyondIdleGrace(t *testing.T) {
	t.Parallel()
	l, f := tcp(t)
	w := start(t, []*os.File{f}, "-idle-grace", "1ms")
	c, kept := connect(t, l.Addr()), connect(t, l.Addr())
	kept.send(t, "/")
	kept.answer(t)
	w.term(t)
	// Its grace is long over, and Shutdown would close it.
	_ = kept.SetDeadline(time.Now().Add(100 * time.Millisecond))
	if _, err := kept.in.ReadByte(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the worker did not wait for the first request: %v", err)
	}
	c.send(t, "/")
	if r := c.answer(t); r.StatusCode != 200 || !r.Close {
		t.Errorf("answer %s, close %v; want 200 with Connection: close", r.Status, r.Close)
	}
	w.wantExit(t, 0)
}

// Quiet connections are owed nothing at the deadline; an answer is.
func TestDeadline(t *testing.T) {
	t.Run("quiet", func(t *testing.T) {
		t.Parallel()
		l, f := tcp(t)
		w := start(t, []*os.File{f}, "impatient")
		c := connect(t, l.Addr())
		accepted(t, l.Addr())
		w.term(t)
		c.wantEOF(t)
		w.wantExit(t, 0)
	})
	t.Run("in an answer", func(t *testing.T) {
		t.Parallel()
		l, f := tcp(t)
		w := start(t, []*os.File{f}, "impatient")
		c := connect(t, l.Addr())
		c.send(t, "/never")
		c.line(t)
		w.term(t)
		if _, err := io.ReadAll(c.in); err != nil {
			t.Log(err)
		}
		w.wantExit(t, 1)
	})
}

func TestPlainConnectionsAreToldAndWaitedFor(t *testing.T) {
	t.Parallel()
	l, f := tcp(t)
	w := start(t, []*os.File{f}, "lines")
	c := connect(t, l.Addr())
	say := func(text string) {
		t.Helper()
		if _, err := io.WriteString(c, text); err != nil {
			t.Fatal(err)
		}
	}
	say("one\n")
	if got := c.line(t); got != "one\n" {
		t.Errorf("got %q", got)
	}
	w.term(t)
	if got := c.line(t); got != goodbye {
		t.Errorf("got %q", got)
	}
	say("two\n")
	if got := c.line(t); got != "two\n" {
		t.Errorf("got %q", got)
	}
	say("end\n")
	c.wantEOF(t)
	w.wantExit(t, 0)
}

func TestPlainConnectionIsCutOffAtTheDeadline(t *testing.T) {
	t.Parallel()
	l, f := tcp(t)
	w := start(t, []*os.File{f}, "lines", "impatient")
	c := connect(t, l.Addr())
	if _, err := io.WriteString(c, "one\n"); err != nil {
		t.Fatal(err)
	}
	c.line(t)
	w.term(t)
	if got := c.line(t); got != goodbye {
		t.Errorf("got %q", got)
	}
	c.wantEOF(t)
	w.wantExit(t, 1)
}
