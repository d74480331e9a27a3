// Package bench runs a real fugue outside systemd and looks at it from outside:
// through its control socket and through proc(5). What it costs is measured by
// the benchmarks here, always beside the bare thing in the same run, and that
// nothing stays behind by the tests in e2e/leaks. Benchmarks print; they never
// fail because a machine is slow.
package bench

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"fugue/internal/control"
)

// patience guards every wait; none is expected to need it.
const patience = 2 * time.Minute

// A Pool is a running fugue with its pool "web".
type Pool struct {
	*control.Client
	Process
	Dir string // of the test's files; the configuration's directory
	// UpAfter is the time from the fork of fugue to its READY=1.
	UpAfter time.Duration

	t      testing.TB
	fugue  string // the program
	ready  <-chan time.Time
	cmd    *exec.Cmd
	ended  chan struct{}
	events chan control.Event
}

// Dir makes a directory whose path is short enough for sockets. It goes with
// the test.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "fb")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// Run starts the program fugue with this configuration in dir, and returns when
// it says READY=1, as it would to systemd. It is stopped when the test ends.
func Run(t testing.TB, fugue, dir, config string) *Pool {
	t.Helper()
	file := filepath.Join(dir, "web.toml")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	p := &Pool{Dir: dir, t: t, fugue: fugue, ready: hear(t, filepath.Join(dir, "notify"))}
	p.start()
	t.Cleanup(p.Stop)
	p.connect()
	return p
}

// start starts a master and returns when it says READY=1.
func (p *Pool) start() {
	p.t.Helper()
	log, err := os.OpenFile(filepath.Join(p.Dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(p.fugue, "run", "--config", filepath.Join(p.Dir, "web.toml"))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = []string{
		"PATH=/usr/bin:/bin", "NOTIFY_SOCKET=" + filepath.Join(p.Dir, "notify"),
		"RUNTIME_DIRECTORY=" + filepath.Join(p.Dir, "fugue", "web"),
	}
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	ended := make(chan struct{})
	p.cmd, p.Process, p.ended = cmd, Process(cmd.Process.Pid), ended
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	select {
	case at := <-p.ready:
		p.UpAfter = at.Sub(begin)
	case <-ended:
		p.t.Fatalf("fugue ended at its start:\n%s", p.Log())
	case <-time.After(patience):
		p.t.Fatalf("fugue is not ready:\n%s", p.Log())
	}
}

// Succeed kills the master and starts another, which takes over its workers
// where orphans = "keep". It returns when that one is ready.
func (p *Pool) Succeed() {
	p.t.Helper()
	_ = p.cmd.Process.Kill()
	<-p.ended
	p.start()
	p.connect()
}

// MustUpgrade has the master replace itself.
func (p *Pool) MustUpgrade() {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	stream, err := p.Upgrade(ctx)
	if err != nil {
		p.t.Fatal(err)
	}
	defer stream.Close()
	verdict, err := p.Follow(ctx, stream, func(control.Event, []byte) {})
	if err != nil || verdict.Outcome != control.OutcomeOK {
		p.t.Fatalf("upgrade: %+v, %v\n%s", verdict, err, p.Log())
	}
}

// hear tells when READY=1 comes, and goes on to read: who does not listen holds
// up the sender.
func hear(t testing.TB, path string) <-chan time.Time {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	ready := make(chan time.Time, 1)
	go func() {
		for b := make([]byte, 4096); ; {
			n, err := conn.Read(b)
			if err != nil {
				return
			}
			if bytes.Contains(b[:n], []byte("READY=1")) {
				select {
				case ready <- time.Now():
				default: // a reload's
				}
			}
		}
	}()
	return ready
}

func (p *Pool) connect() {
	p.t.Helper()
	client, err := control.Finder{Roots: []string{filepath.Join(p.Dir, "fugue")}, Patience: patience}.Dial("web")
	if err != nil {
		p.t.Fatal(err)
	}
	p.Client = client
	stream, err := client.Events(context.Background(), -1)
	if err != nil {
		p.t.Fatal(err)
	}
	p.events = make(chan control.Event, 1<<16)
	go func() {
		defer close(p.events)
		defer stream.Close()
		for {
			e, _, err := stream.Next()
			if err != nil {
				return
			}
			p.events <- e
		}
	}()
}

// Log is what fugue and its workers have said.
func (p *Pool) Log() string {
	b, err := os.ReadFile(filepath.Join(p.Dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-4096):])
}

// Await returns the next event that want takes; those before it are gone.
func (p *Pool) Await(what string, want func(control.Event) bool) control.Event {
	p.t.Helper()
	guard := time.NewTimer(patience)
	defer guard.Stop()
	for {
		select {
		case e, ok := <-p.events:
			if !ok {
				p.t.Fatalf("the events ended before %s:\n%s", what, p.Log())
			}
			if want(e) {
				return e
			}
		case <-guard.C:
			p.t.Fatalf("there is no %s:\n%s", what, p.Log())
		}
	}
}

// MustReload reloads and returns when the verdict is in, which must be good.
func (p *Pool) MustReload() control.Change {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	stream, err := p.Reload(ctx, control.ReloadRequest{})
	if err != nil {
		p.t.Fatal(err)
	}
	defer stream.Close()
	verdict, err := p.Follow(ctx, stream, func(control.Event, []byte) {})
	if err != nil || verdict.Outcome != control.OutcomeOK {
		p.t.Fatalf("reload: %+v, %v\n%s", verdict, err, p.Log())
	}
	return verdict
}

// AwaitExits returns when n workers have been collected since the last wait.
func (p *Pool) AwaitExits(n int) {
	p.t.Helper()
	for i := range n {
		p.Await(fmt.Sprintf("exit %d of %d", i+1, n), func(e control.Event) bool { return e.Kind == "exited" })
	}
}

// MustStatus is what the pool says of itself.
func (p *Pool) MustStatus() control.Status {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := p.Status(ctx)
	if err != nil {
		p.t.Fatal(err)
	}
	return s
}

// Stop ends fugue as systemd would, and waits for it.
func (p *Pool) Stop() {
	_ = p.cmd.Process.Signal(unix.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-p.ended
		p.t.Errorf("fugue does not stop:\n%s", p.Log())
	}
}
