package examples_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"fugue/e2e"
	"fugue/internal/loadtest"
)

// startGo runs the example in Go on a free port.
func startGo(t *testing.T) *pool {
	t.Helper()
	p := &pool{t: t, dir: tempDir(t), name: "web"}
	dir := p.copy("go/http")
	build(t, "go", "build", "-o", filepath.Join(dir, "server"), "fugue/examples/go/http")
	p.runConfig(filepath.Join(dir, "fugue.toml"), "--listen", "http=127.0.0.1:0")
	return p
}

// copy is a copy of an example: root reads no file of a checkout that is
// somebody else's.
func (p *pool) copy(app string) (dir string) {
	p.t.Helper()
	dir = filepath.Join(p.dir, "app")
	if err := os.CopyFS(dir, os.DirFS(example(p.t, app))); err != nil {
		p.t.Fatal(err)
	}
	return dir
}

func build(t *testing.T, words ...string) {
	t.Helper()
	if text, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", words, err, text)
	}
}

// runConfig runs a pool by an example's file.
func (p *pool) runConfig(config string, flags ...string) {
	p.t.Helper()
	p.start(append([]string{fugueBinary(p.t), "run", "-c", config, "--name", p.name,
		"--restart.min_uptime", "0", "--ready.timeout", "2min"}, flags...)...)
	p.await("generation 1 serves")
}

// startNode runs one of the examples for node.
func startNode(t *testing.T, app string, env ...string) *pool {
	t.Helper()
	e2e.NeedProgram(t, "node")
	p := &pool{t: t, dir: tempDir(t), name: app + "-0", env: append(env, "PORT=0")}
	p.start("/usr/bin/node", example(t, "node/"+app+".js"))
	p.await("generation 1 serves")
	return p
}

// 200 clients that keep their connections, others that connect anew, and
// websockets, through 50 reloads: none of their requests fails, no connection is
// closed under one, and every websocket is told before its end.
func TestKeptAliveClients(t *testing.T) {
	for _, c := range []struct {
		language string
		start    func(*testing.T) *pool
	}{
		{"go", startGo},
		{"node", func(t *testing.T) *pool { return startNode(t, "http-app") }},
	} {
		t.Run(c.language, func(t *testing.T) {
			t.Parallel() // both mostly wait
			p := c.start(t)
			address := p.status().Listeners[0].Address
			load, err := loadtest.Start(t.Context(), loadtest.Config{
				Address: address, Rate: 50, KeepAlive: 200, KeepAliveEvery: 2 * time.Second,
				Timeout: guard, Max: 10_000_000, For: time.Hour,
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { load.Stop() })
			sockets := openSockets(t, address, 20)
			n := loadtest.Scale(50)
			for range n {
				p.reload()
				awaitKept(t, load)
			}
			told, err := sockets.stop()
			if err != nil {
				t.Error(err)
			}
			r := load.Stop()
			t.Logf("%d reloads, %d websockets told: %v", n, told, r)
			if err := r.Check(); err != nil {
				t.Error(err)
			}
			if r.Kept.IdleClosed > 0 {
				t.Errorf("%d kept-alive connections were closed between requests", r.Kept.IdleClosed)
			}
			if told < n {
				t.Errorf("only %d websockets were told in %d reloads", told, n)
			}
		})
	}
}

// awaitKept waits until as many requests were answered on kept-alive connections
// as there are clients of that kind.
func awaitKept(t *testing.T, load *loadtest.Load) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), guard)
	defer cancel()
	from := -1
	if err := load.Await(ctx, func(r *loadtest.Report) bool {
		if from < 0 {
			from = r.Kept.OK
		}
		return r.Kept.OK >= from+200
	}); err != nil {
		t.Fatal(err)
	}
}

// sockets are websocket clients that connect again when they are told to.
type sockets struct {
	end    context.CancelFunc
	all    sync.WaitGroup
	result chan result
}

type result struct {
	told int
	err  error
}

func openSockets(t *testing.T, address string, n int) *sockets {
	ctx, cancel := context.WithCancel(t.Context())
	s := &sockets{end: cancel, result: make(chan result, n)}
	open := make(chan struct{}, n)
	for range n {
		s.all.Go(func() {
			var r result
			for r.err == nil && ctx.Err() == nil {
				if r.err = socket(ctx, address, func() {
					select {
					case open <- struct{}{}:
					default:
					}
				}); r.err == nil && ctx.Err() == nil {
					r.told++
				}
			}
			s.result <- r
		})
	}
	for range n {
		select {
		case <-open:
		case <-time.After(guard):
			t.Fatal("no websocket")
		}
	}
	t.Cleanup(func() { cancel(); s.all.Wait() })
	return s
}

func (s *sockets) stop() (told int, err error) {
	s.end()
	s.all.Wait()
	close(s.result)
	for r := range s.result {
		told += r.told
		err = errors.Join(err, r.err)
	}
	return told, err
}

// socket is one websocket to its end: that of ctx, or a close frame with status
// 1001 from the server. Anything else is an error.
func socket(ctx context.Context, address string, opened func()) error {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open a websocket: %w", err)
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	_, err = io.WriteString(c, "GET /socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	in := bufio.NewReader(c)
	var answer *http.Response
	if err == nil {
		answer, err = http.ReadResponse(in, nil)
	}
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open a websocket: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusSwitchingProtocols || answer.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		return fmt.Errorf("open a websocket: %s, %v", answer.Status, answer.Header)
	}
	opened()
	text, err := io.ReadAll(&untilClose{in: in})
	if ctx.Err() != nil {
		return nil
	}
	if err != nil || string(text) != "\x81\x05hello\x88\x02\x03\xe9" {
		return fmt.Errorf("a websocket ended with %q, %w", text, err)
	}
	return nil
}

// untilClose ends with the close frame, whose sender waits for ours.
type untilClose struct {
	in   *bufio.Reader
	read int
}

func (u *untilClose) Read(b []byte) (int, error) {
	if u.read == len("\x81\x05hello\x88\x02\x03\xe9") {
		return 0, io.EOF
	}
	n, err := u.in.Read(b[:1])
	u.read += n
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
