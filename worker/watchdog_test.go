package worker_test

import (
	"os"
	"strconv"
	"testing"
	"time"

	"fugue/worker"
)

func TestWatchdogIsMeantForThisProcess(t *testing.T) {
	for _, c := range []struct {
		usec, pid string
		want      time.Duration
	}{
		{"", "", 0},
		{"30000000", "", 30 * time.Second},
		{"30000000", "self", 30 * time.Second},
		{"30000000", "1", 0}, // its parent's
		{"0", "", 0},
		{"soon", "", 0},
		{"9223372036854775807", "", 0},
	} {
		if c.pid == "self" {
			c.pid = strconv.Itoa(os.Getpid())
		}
		t.Setenv("WATCHDOG_USEC", c.usec)
		t.Setenv("WATCHDOG_PID", c.pid)
		if got := worker.Watchdog(); got != c.want {
			t.Errorf("WATCHDOG_USEC=%s WATCHDOG_PID=%s: %v, want %v", c.usec, c.pid, got, c.want)
		}
	}
}

// It pings from the start through the drain, and a slow answer holds it up in
// neither.
func TestPings(t *testing.T) {
	t.Setenv("WATCHDOG_USEC", "20000")
	l, f := tcp(t)
	w := start(t, []*os.File{f})
	for range 3 {
		w.wantSaid(t, ping)
	}
	slow := connect(t, l.Addr())
	slow.send(t, "/slow?ms=300")
	accepted(t, l.Addr())
	w.term(t)
	for range 3 {
		w.wantSaid(t, ping)
	}
	slow.answer(t)
	slow.Close()
	w.wantExit(t, 0)
}

// Who is not alive does not ping, and says why.
func TestNoPingOfTheIll(t *testing.T) {
	t.Setenv("WATCHDOG_USEC", "20000")
	_, f := tcp(t)
	w := start(t, []*os.File{f}, "ill")
	w.wantSaid(t, ping)
	w.wantSaid(t, ping)
	for range 3 {
		w.wantSaid(t, "STATUS=no database: connection refused")
	}
}

func (p *process) wantSaid(t *testing.T, want string) {
	t.Helper()
	if got := p.said(t); got != want {
		t.Fatalf("worker said %q, want %q", got, want)
	}
}
