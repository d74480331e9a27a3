package e2e

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"fugue/internal/loadtest"
	"fugue/internal/testworker"
)

// Dial connects inside the sandbox: to a literal TCP or UDP address in its
// network, or to a unix socket by its path inside.
func (sb *Sandbox) Dial(network, address string) (net.Conn, error) {
	return sb.dial(context.Background(), network, address)
}

func (sb *Sandbox) dial(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: guard}
	if network == "unix" || network == "unixgram" {
		return d.DialContext(ctx, network, sb.Path(address))
	}
	type dialed struct {
		conn net.Conn
		err  error
	}
	done := make(chan dialed, 1)
	go func() {
		// A socket belongs for ever to the network of the thread that made it.
		// This thread is spoilt for the rest of the program: never unlocked,
		// it ends with the goroutine.
		runtime.LockOSThread()
		fd, err := unix.Open("/proc/"+strconv.Itoa(sb.pid)+"/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			done <- dialed{nil, err}
			return
		}
		defer unix.Close(fd)
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			done <- dialed{nil, err}
			return
		}
		// With a literal address net makes the socket in this goroutine.
		conn, err := d.DialContext(ctx, network, address)
		done <- dialed{conn, err}
	}()
	r := <-done
	return r.conn, r.err
}

// Client speaks HTTP inside; each request has a connection of its own. Sockets
// are reached by http://127.0.0.1:PORT/, or all by one unix socket if unixPath
// is not empty.
func (sb *Sandbox) Client(unixPath string) *http.Client {
	return &http.Client{Timeout: guard, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if unixPath != "" {
				network, address = "unix", unixPath
			}
			return sb.dial(ctx, network, address)
		},
	}}
}

// Answer is what a testworker said.
type Answer struct {
	Status                         int
	Version, PID, Slot, Generation string
	Body                           string
}

// Get asks http://ADDRESS/PATH and returns the answer, which must come.
func (sb *Sandbox) Get(url string) Answer {
	sb.t.Helper()
	r, err := sb.Client("").Get(url)
	if err != nil {
		sb.t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		sb.t.Fatal(err)
	}
	h := r.Header
	return Answer{
		Status: r.StatusCode, Body: string(body),
		Version: h.Get(testworker.HeaderVersion), PID: h.Get(testworker.HeaderPID),
		Slot: h.Get(testworker.HeaderSlot), Generation: h.Get(testworker.HeaderGeneration),
	}
}

// Load is a load on a server inside, which ends with the test.
type Load struct {
	*loadtest.Load
	sb *Sandbox
}

// Load starts to ask. The generator is a process of its own, so that the test's
// own pauses are not in its times.
func (sb *Sandbox) Load(c loadtest.Config) *Load {
	sb.t.Helper()
	self, err := os.Executable()
	if err != nil {
		sb.t.Fatal(err)
	}
	if c.Network == "unix" {
		c.Address = sb.Path(c.Address)
	}
	cmd := exec.Command("/usr/bin/nsenter", "-t", strconv.Itoa(sb.pid), "-n", "--", self)
	cmd.Env = selfEnv("load")
	load, err := loadtest.StartCommand(context.Background(), c, cmd)
	if err != nil {
		sb.t.Fatal(err)
	}
	sb.t.Cleanup(func() { load.Stop() })
	l := &Load{load, sb}
	l.AwaitMore(1)
	return l
}

func (l *Load) await(what string, enough func(*loadtest.Report) bool) {
	l.sb.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), guard)
	defer cancel()
	if err := l.Await(ctx, enough); err != nil {
		l.sb.t.Fatalf("await %s: %v\n%v", what, err, l.Stop())
	}
}

// AwaitMore returns after n more requests have ended, well or not: a stretch of
// load that knows no clock.
func (l *Load) AwaitMore(n int) {
	l.sb.t.Helper()
	until := -1
	l.await(strconv.Itoa(n)+" requests", func(r *loadtest.Report) bool {
		if until < 0 {
			until = r.New.Sent + r.Kept.Sent + n
		}
		return r.New.Sent+r.Kept.Sent >= until
	})
}

// AwaitVersion returns when an answer to a request made from now on carries
// version.
func (l *Load) AwaitVersion(version string) {
	l.sb.t.Helper()
	now := time.Now()
	l.await("an answer of "+version, func(r *loadtest.Report) bool {
		seen, ok := r.Saw(version)
		return ok && seen.Last.After(now)
	})
}

// StopWithoutLoss stops, logs the account, and fails the test unless every
// request was answered.
func (l *Load) StopWithoutLoss() *loadtest.Report {
	l.sb.t.Helper()
	r := l.Stop()
	l.sb.t.Log(r)
	if err := r.Check(); err != nil {
		l.sb.t.Error(err)
	}
	return r
}
