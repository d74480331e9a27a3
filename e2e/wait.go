package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
)

// WaitState returns when the unit's ActiveState or SubState is one of states
// ("active", "failed", "stop-sigterm"). It sees states that last: one that is
// over before it has looked is missed.
func (sb *Sandbox) WaitState(unit string, states ...string) {
	sb.t.Helper()
	last := ""
	sb.waitChange("the state of "+unit, &last, func() bool {
		if !sb.glance(&last, "-P", "ActiveState", "-P", "SubState", unit) {
			return false
		}
		for _, have := range strings.Fields(last) {
			for _, want := range states {
				if have == want {
					return true
				}
			}
		}
		return false
	})
}

// WaitShow returns when the property of the unit is value.
func (sb *Sandbox) WaitShow(unit, property, value string) {
	sb.t.Helper()
	sb.WaitShowAs(unit, property, func(now string) bool { return now == value })
}

// WaitShowAs is WaitShow for a value that ok accepts.
func (sb *Sandbox) WaitShowAs(unit, property string, ok func(string) bool) {
	sb.t.Helper()
	last := ""
	sb.waitChange(property+" of "+unit, &last, func() bool {
		return sb.glance(&last, "-P", property, unit) && ok(last)
	})
}

// glance is one look of those that wait, and reports whether it saw anything: a
// systemctl that is hung up on by a daemon-reexec beside it has not.
func (sb *Sandbox) glance(saw *string, args ...string) bool {
	sb.t.Helper()
	r := sb.Systemctl(append([]string{"show"}, args...)...)
	if *saw = strings.TrimSpace(r.Out); r.Code != 0 {
		*saw = r.String()
	}
	return r.Code == 0
}

// slowly is how often to look for what systemd does not signal: how many
// descriptors it stores, for one, or what a look asks of others.
const slowly = time.Second

// waitChange looks whenever systemd signals that something of a unit changed,
// and slowly without.
func (sb *Sandbox) waitChange(what string, last *string, look func() bool) {
	sb.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), guard)
	defer cancel()
	changes := sb.changes(ctx)
	for open := true; open; {
		select {
		case _, open = <-changes: // the first comes when the listener is connected
		case <-time.After(slowly):
		}
		if open && look() {
			return
		}
	}
	sb.t.Fatalf("wait for %s: it is %q after %v", what, *last, guard)
}

// changes ticks at every signal of systemd until ctx ends, never more than one
// ahead. It listens on systemd's private socket, where every peer is told
// unasked, but only peers that it can see: hence a process in its PID namespace.
func (sb *Sandbox) changes(ctx context.Context) <-chan struct{} {
	sb.t.Helper()
	self, err := os.Executable()
	if err != nil {
		sb.t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, "/usr/bin/nsenter", "-t", strconv.Itoa(sb.pid), "-p", "--", self, sb.Path("/run/systemd/private"))
	endWithChildren(cmd)
	cmd.Env = selfEnv("changes")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		sb.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		sb.t.Fatal(err)
	}
	ticks := make(chan struct{}, 1)
	go func() {
		defer close(ticks)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			select {
			case ticks <- struct{}{}:
			default: // one tick is waiting already
			}
		}
		_ = cmd.Wait() // killed when ctx ended
	}()
	return ticks
}

// printChanges writes a line for every signal on systemd's private socket, and
// one whenever it is connected, which after a daemon-reexec is anew.
func printChanges(path string, out io.Writer) int {
	for {
		conn := dialUntil(path, guard)
		if conn == nil {
			return 1
		}
		bus, err := dbus.NewConn(conn)
		if err != nil {
			conn.Close()
			continue
		}
		signals := make(chan *dbus.Signal, 1024) // beyond it they are dropped; one is as good as many
		bus.Signal(signals)
		if bus.Auth([]dbus.Auth{dbus.AuthExternal("0")}) == nil {
			for open := true; open; {
				if _, err := fmt.Fprintln(out, "changed"); err != nil {
					return 0
				}
				select {
				case _, open = <-signals:
				case <-bus.Context().Done():
					open = false
				}
			}
		}
		bus.Close()
	}
}

// dialUntil connects to systemd's own socket. During a daemon-reexec that is
// refused for some 100 ms, and no event tells the end of it, hence the retries.
func dialUntil(path string, patience time.Duration) net.Conn {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		conn, err := net.Dial("unix", path)
		if err == nil {
			return conn
		}
		<-time.After(5 * time.Millisecond)
	}
	return nil
}

// DaemonReexec replaces systemd by itself and returns when it answers again. A
// connection is no answer: the one that goes hangs up on systemctl before it
// closes the socket that it listens on.
func (sb *Sandbox) DaemonReexec() {
	sb.t.Helper()
	sb.Do("systemctl", "daemon-reexec")
	sb.untilDone("systemd to answer again", "systemctl", "show", "-P", "Version")
}

// untilDone runs a command until it succeeds, for what has no event.
func (sb *Sandbox) untilDone(what string, command ...string) {
	sb.t.Helper()
	r := Result{Code: -1}
	for deadline := time.Now().Add(guard); r.Code != 0; {
		if time.Now().After(deadline) {
			sb.t.Fatalf("wait for %s: not in %v: %v", what, guard, r)
		}
		r = sb.Exec(command...)
	}
}
