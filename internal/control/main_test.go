package control

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// The test binary is also the other processes that a test needs, chosen by the
// first word.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 {
		switch os.Args[1] {
		case "as-peer":
			os.Exit(asPeer(os.Args[2], os.Args[3:]))
		case "as-holder":
			os.Exit(asHolder(os.Args[2]))
		case "as-finder":
			os.Exit(asFinder(os.Args[2]))
		case "as-exec":
			os.Exit(asExec(os.Args[2]))
		case "as-successor":
			os.Exit(asSuccessor(os.Args[2], os.Args[3]))
		}
	}
	goleak.VerifyTestMain(m)
}

// asPeer sends one request ("GET /status") each and prints status and body.
func asPeer(path string, requests []string) int {
	for _, r := range requests {
		method, url, _ := strings.Cut(r, " ")
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", path)
			}}}
		req, _ := http.NewRequest(method, "http://fugue"+url, nil)
		resp, err := client.Do(req)
		if err != nil {
			fmt.Println(err)
			continue
		}
		line, _ := bufio.NewReader(resp.Body).ReadString('\n')
		resp.Body.Close()
		fmt.Println(resp.StatusCode, strings.TrimSpace(line))
	}
	return 0
}

// child runs this binary as something else; as nobody with uid 65534.
func child(t *testing.T, credential *syscall.Credential, args ...string) *exec.Cmd {
	t.Helper()
	// By this path, for the binary lies where nobody may not look.
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
	return cmd
}

// shortDir is a directory that everybody may enter, with a short path.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "f")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// fakePool does what its functions say; those that are nil are ErrNotFound.
type fakePool struct {
	status func(ctx context.Context) (Status, error)
	reload func(ctx context.Context, r ReloadRequest) (Ticket, error)
	scale  func(ctx context.Context, r ScaleRequest) (Ticket, error)
	stop   func(ctx context.Context) (Ticket, error)
	job    func(ctx context.Context, r JobRequest) (Ticket, error)
	change func(ctx context.Context, n int) (Change, error)
	events func(ctx context.Context) (<-chan Event, error)
	last   int   // the number of the last event before
	after  []int // what was asked for
}

func (f *fakePool) Status(ctx context.Context) (Status, error) {
	if f.status == nil {
		return Status{Pool: "web", State: StateRunning}, nil
	}
	return f.status(ctx)
}

func (f *fakePool) Reload(ctx context.Context, r ReloadRequest) (Ticket, error) {
	if f.reload == nil {
		return Ticket{}, ErrNotFound
	}
	return f.reload(ctx, r)
}

func (f *fakePool) Recycle(ctx context.Context, r RecycleRequest) (Ticket, error) {
	return f.Scale(ctx, ScaleRequest{N: len(r.Slots), Relative: true})
}

func (f *fakePool) Scale(ctx context.Context, r ScaleRequest) (Ticket, error) {
	if f.scale == nil {
		return Ticket{}, ErrNotFound
	}
	return f.scale(ctx, r)
}

func (f *fakePool) Stop(ctx context.Context) (Ticket, error) {
	if f.stop == nil {
		return Ticket{}, ErrNotFound
	}
	return f.stop(ctx)
}

func (f *fakePool) Upgrade(context.Context) (Ticket, error) { return Ticket{}, ErrNotFound }

func (f *fakePool) Job(ctx context.Context, r JobRequest) (Ticket, error) {
	if f.job == nil {
		return Ticket{}, ErrNotFound
	}
	return f.job(ctx, r)
}

func (f *fakePool) Cancel(context.Context) (Ticket, error) { return Ticket{}, ErrNotFound }

func (f *fakePool) Change(ctx context.Context, n int) (Change, error) {
	if f.change == nil {
		return Change{}, fmt.Errorf("change %d: %w", n, ErrNotFound)
	}
	return f.change(ctx, n)
}

func (f *fakePool) Events(ctx context.Context, after int) (Ticket, error) {
	if f.events == nil {
		return Ticket{}, ErrNotFound
	}
	f.after = append(f.after, after)
	events, err := f.events(ctx)
	return Ticket{Events: events, Last: f.last}, err
}

// served is a pool with everything that serves it.
type served struct {
	hold   *Hold
	socket *Socket
	server *Server
	finder Finder
}

// startPool serves a pool named web below a new directory.
func startPool(t *testing.T, p Pool, a Access, lim limits) *served {
	t.Helper()
	root := shortDir(t)
	h, err := Lock(filepath.Join(root, "web"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Release)
	s, err := Listen(h, 0o666, -1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(true) })
	sv, err := serve(s, p, a, "1.2.3", lim)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeNow(sv) })
	return &served{hold: h, socket: s, server: sv, finder: Finder{Roots: []string{root}}}
}

// closeNow ends a server without waiting for answers under way.
func closeNow(s *Server) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s.Close(ctx)
}

func (s *served) client(t *testing.T) *Client {
	t.Helper()
	c, err := s.finder.Dial("web")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// connect opens a raw connection with a deadline as a guard.
func (s *served) connect(t *testing.T) *net.UnixConn {
	t.Helper()
	c, err := net.Dial("unix", s.socket.Path())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return c.(*net.UnixConn)
}

// exchange sends raw bytes and reads the answer.
func exchange(t *testing.T, c *net.UnixConn, request string) (status int, body string) {
	t.Helper()
	if _, err := c.Write([]byte(request)); err != nil {
		t.Fatalf("write: %v", err)
	}
	return answerOf(t, c)
}

func answerOf(t *testing.T, c *net.UnixConn) (status int, body string) {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("read the answer: %v", err)
	}
	defer resp.Body.Close()
	var b strings.Builder
	if _, err := bufio.NewReader(resp.Body).WriteTo(&b); err != nil {
		t.Fatalf("read the answer: %v", err)
	}
	return resp.StatusCode, b.String()
}
