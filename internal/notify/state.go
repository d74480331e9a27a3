// Package notify speaks the sd_notify(3) protocol in both directions: to the
// service manager that started fugue, and as the manager that fugue's workers
// believe they have. A caller is never made to wait for PID 1 and nothing it
// queued is dropped while the manager lives; every file descriptor that a
// worker sends is closed, which is what answers its BARRIER=1. The package
// reports who said what; whether a sender belongs to a worker, and which of
// its words count, is for the master to judge.
package notify

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Messages that are always the same, for Systemd.Send.
const (
	Ready    = "READY=1"
	Stopping = "STOPPING=1"
	Watchdog = "WATCHDOG=1"
)

// maxState is what systemd reads of one datagram (NOTIFY_BUFFER_MAX, which is
// PIPE_BUF). A longer one it drops whole, so it is refused on our side.
const maxState = 4096

// maxFDs is the kernel's limit for one message (SCM_MAX_FD, unix(7)).
const maxFDs = 253

// Line returns "KEY=value", one line of a message. It refuses a value or key
// that would end the line early: text that came from a worker, such as
// "x\nMAINPID=1", must not become an order to PID 1.
func Line(key, value string) (string, error) {
	if key == "" || strings.ContainsAny(key, "=\n\x00") {
		return "", fmt.Errorf("compose a notification: %q is no key", key)
	}
	if strings.ContainsAny(value, "\n\x00") {
		return "", fmt.Errorf("compose a notification: the value of %s has a newline or NUL: %q", key, value)
	}
	return key + "=" + value, nil
}

// Reloading returns the message that begins a reload. The timestamp is
// CLOCK_MONOTONIC in microseconds: without it, systemd waits for ever on a
// Type=notify-reload unit. Every Reloading must be followed by Ready, also
// when the reload was refused.
func Reloading() string {
	var now unix.Timespec
	// CLOCK_MONOTONIC exists on every Linux: the call has no way to fail.
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	return "RELOADING=1\nMONOTONIC_USEC=" + strconv.FormatInt(now.Nano()/1000, 10)
}

// ExtendTimeout returns the message that asks for the start, reload or stop
// under way to be given d from now on, rounded up to a microsecond.
func ExtendTimeout(d time.Duration) string {
	return "EXTEND_TIMEOUT_USEC=" + strconv.FormatInt((max(d, 0)+time.Microsecond-1).Microseconds(), 10)
}

// checkName says whether systemd would keep name for a stored descriptor. It
// does not refuse a bad one, it stores the descriptor under the name "stored",
// where nobody finds it again.
func checkName(name string) error {
	if name == "" || len(name) > 255 {
		return fmt.Errorf("name a stored descriptor: %q has %d bytes, not 1 to 255", name, len(name))
	}
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c >= 0x7f || c == ':' {
			return fmt.Errorf("name a stored descriptor: %q may have only printable ASCII and no colon", name)
		}
	}
	return nil
}

// ParseState splits a datagram into its assignments. Where a key is repeated
// the last one counts. As systemd does, it passes over lines that assign
// nothing, allows one NUL at the end and refuses one within; a datagram
// without any assignment is an error.
func ParseState(b []byte) (map[string]string, error) {
	b = bytes.TrimSuffix(b, []byte{0})
	if bytes.IndexByte(b, 0) >= 0 {
		return nil, errors.New("read a notification: it contains a NUL byte")
	}
	fields := make(map[string]string)
	for line := range bytes.SplitSeq(b, []byte{'\n'}) {
		if key, value, ok := bytes.Cut(line, []byte{'='}); ok && len(key) > 0 {
			fields[string(key)] = string(value)
		}
	}
	if len(fields) == 0 {
		return nil, errors.New("read a notification: it has no line of the form KEY=VALUE")
	}
	return fields, nil
}
