package master

import (
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fugue/internal/notify"
)

// idle checks that nothing wakes the loop any more: it wants no timer, not
// now and not in an hour, and says nothing in it.
func (h *harness) idle() {
	h.Helper()
	synctest.Wait()
	h.forget()
	for range 2 {
		// The loop is at rest in its select, so this is what it last found.
		if wake := h.m.settle(time.Now()); !wake.IsZero() {
			h.Errorf("an idle loop wants to be woken in %v", time.Until(wake))
		}
		h.pass(time.Hour)
	}
	if said := h.messages(""); len(said) > 0 {
		h.Errorf("said in two hours of nothing, %d times: %q", len(said), said[0])
	}
}

func TestIdleIsNotWoken(t *testing.T) {
	for _, file := range []string{"workers = 3", "workers = 0", "workers = 1\n[reload]\nbake = \"10s\"\n[stop]\ndelay = \"5s\""} {
		started(t, file, func(h *harness) {
			h.idle()
			h.deploy("v2", good)
			h.verdict(h.reload())
			h.pass(time.Minute)
			h.idle()
			h.verdict(h.scale(2))
			h.pass(time.Minute)
			h.idle()
			h.deploy("v3", broken)
			h.verdict(h.reload())
			h.pass(time.Minute)
			h.idle()
		})
	}
}

func TestTimerIsStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		timer := time.NewTimer(time.Second)
		arm(timer, time.Time{})
		<-time.After(time.Hour)
		select {
		case <-timer.C:
			t.Error("it went off")
		default:
		}
		arm(timer, time.Now().Add(-time.Minute)) // late: at once
		begun := time.Now()
		<-timer.C
		if d := time.Since(begun); d != 0 {
			t.Errorf("after %v", d)
		}
	})
}

// The watchdog hears from the loop at half its interval, from before the
// start to the end, whatever the workers do.
func TestWatchdog(t *testing.T) {
	play(t, "workers = 2\n[stop]\ntimeout = \"1min\"", func(h *harness) {
		h.m.opts.Watchdog = 20 * time.Second
		h.deploy("v1", manner{ready: 70 * time.Second, deaf: true})
		h.with(func() { h.prepare = 15 * time.Second })
		h.start()
		h.heard("WATCHDOG=1", 1)
		h.pass(5 * time.Minute)
		h.deploy("v2", broken)
		h.verdict(h.reload())
		h.signal(15)
		if err := h.wait(); err != nil {
			t.Error(err)
		}
		var last time.Time
		n := 0
		for _, m := range h.told {
			if m.text != "WATCHDOG=1" {
				continue
			}
			if d := m.at.Sub(last); n > 0 && d != 10*time.Second {
				t.Errorf("ping after %v", d)
			}
			n, last = n+1, m.at
		}
		if n < 36 {
			t.Errorf("%d pings", n)
		}
	})
}

func TestWatchdogOf(t *testing.T) {
	for _, c := range []struct {
		usec, pid string
		want      time.Duration
	}{{"20000000", "7", 20 * time.Second}, {"20000000", "", 20 * time.Second}, {"20000000", "8", 0}, {"", "7", 0}, {"x", "", 0}, {"-1", "", 0}, {"0", "", 0}} {
		getenv := func(key string) string { return map[string]string{"WATCHDOG_USEC": c.usec, "WATCHDOG_PID": c.pid}[key] }
		if got := watchdogOf(getenv, 7); got != c.want {
			t.Errorf("watchdogOf(%q, %q) = %v, want %v", c.usec, c.pid, got, c.want)
		}
	}
}

// For a limit that never comes systemd is asked for a year: its own limit
// would end what is to take as long as it needs.
func TestInfinityIsAYear(t *testing.T) {
	play(t, "workers = 1\n[ready]\nwhen = \"notify\"\ntimeout = \"infinity\"\n[reload]\ntimeout = \"infinity\"\n[stop]\ntimeout = \"infinity\"", func(h *harness) {
		h.start()
		h.pass(time.Minute)
		h.verdict(h.reload())
		h.signal(15)
		_ = h.wait()
		for _, m := range h.messages("EXTEND_TIMEOUT_USEC") {
			if us, err := strconv.ParseInt(strings.TrimPrefix(m, "EXTEND_TIMEOUT_USEC="), 10, 64); err != nil || us < int64(365*24*time.Hour/time.Microsecond) {
				t.Errorf("told %q: less than a year, %v", m, err)
			}
		}
		for _, m := range h.messages("") {
			if key, _, _ := strings.Cut(m, "="); key == "" || strings.HasPrefix(m, notify.Watchdog) {
				t.Errorf("told %q", m)
			}
		}
	})
}
