package master

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"fugue/internal/control"
	"fugue/internal/proc"
)

// READY=1 is sent at the moment at which as many workers are ready as may
// not be fewer, and once.
func TestReadyWhenEnoughAre(t *testing.T) {
	for _, c := range []struct {
		name, file string
		slots      map[string]time.Duration
		at         time.Duration
	}{
		{"all of them", "workers = 3", map[string]time.Duration{"v1/1": time.Second, "v1/2": 3 * time.Second, "v1/3": 2 * time.Second}, 3 * time.Second},
		{"but one", "workers = 3\n[reload]\nmax_unavailable = 1", map[string]time.Duration{"v1/1": time.Second, "v1/2": 3 * time.Second, "v1/3": 2 * time.Second}, 2 * time.Second},
		{"a share rounded down", "workers = 3\n[reload]\nmax_unavailable = \"50%\"", map[string]time.Duration{"v1/1": time.Second, "v1/2": 3 * time.Second, "v1/3": 2 * time.Second}, 2 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			play(t, c.file, func(h *harness) {
				for slot, d := range c.slots {
					h.with(func() { h.deploys[slot] = manner{ready: d, drain: time.Millisecond} })
				}
				begun := time.Now()
				h.start()
				h.pass(c.at - time.Millisecond)
				h.heard("READY=1", 0)
				h.state(control.StateStarting)
				h.pass(2 * time.Millisecond)
				h.heard("READY=1", 1)
				h.with(func() {
					for _, m := range h.told {
						if m.text == "READY=1" && m.at.Sub(begun) != c.at {
							t.Errorf("READY=1 after %v, want %v", m.at.Sub(begun), c.at)
						}
					}
				})
				h.pass(time.Minute)
				h.heard("READY=1", 1)
				h.state(control.StateRunning)
			})
		})
	}
}

// A pool whose very first start comes to nothing ends with the reason.
func TestFirstStartFails(t *testing.T) {
	for _, c := range []struct {
		name    string
		how     manner
		text    []string
		details string
		after   time.Duration // no sooner than this
	}{
		{"exits", broken, []string{"the pool did not start: worker ", " of generation 1 ended with exit status 1 before it was available"}, "loading|no such table: users", 0},
		{"is killed", manner{silent: true, life: time.Millisecond, exit: proc.Exit{Signal: syscall.SIGSEGV}}, []string{"killed by SIGSEGV"}, "", 0},
		{"last lines come late", manner{silent: true, life: time.Millisecond, exit: proc.Exit{Code: 3}, stderr: []string{"why"}, tail: 2 * time.Second}, []string{"exit status 3"}, "why", 2 * time.Second},
		{"hangs", manner{silent: true, seen: "holds the socket but does not wait on it", deaf: true}, []string{"was not ready within 1m30s", "READY=1", "[ready]"}, "", 90 * time.Second},
		{"binds for itself", manner{silent: true, life: time.Millisecond, exit: proc.Exit{Code: 1}, stderr: []string{"Error: listen EADDRINUSE: address already in use :::3000"}}, []string{"exit status 1 before it was available: it tried to bind an address that is in use, and not to take fugue's socket; it has to be told", "{fd}", "preset"}, "Error: listen EADDRINUSE: address already in use :::3000", 0},
		{"cannot be launched", absent, []string{"could not be started: execute /srv/server: no such file or directory"}, "", 0},
		{"cannot be made", manner{start: errors.New("fork: cannot allocate memory")}, []string{"could not be started: fork: cannot allocate memory"}, "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			play(t, "workers = 2", func(h *harness) {
				h.deploy("v1", c.how)
				begun := time.Now()
				h.start()
				err := h.wait()
				if exitOf(err) != control.ExitFailed {
					t.Fatalf("Run: %v, want exit %d", err, control.ExitFailed)
				}
				h.mentions(err.Error(), c.text...)
				var e *StartError
				if errors.As(err, &e); strings.Join(e.Details, "|") != c.details {
					t.Errorf("details %q, want %q", e.Details, c.details)
				}
				if took := time.Since(begun); took < c.after || took > c.after+tailTimeout+time.Second {
					t.Errorf("took %v, want little more than %v", took, c.after)
				}
				h.heard("READY=1", 0)
			})
		})
	}
}

// What looking has seen is part of the verdict on a worker that hangs.
func TestNotReadySaysWhatWasSeen(t *testing.T) {
	play(t, "workers = 1\n[ready]\nwhen = \"auto\"\ntimeout = \"7s\"", func(h *harness) {
		h.deploy("v1", manner{silent: true, seen: "listens on 127.0.0.1:9000 itself and not on fugue's socket", drain: time.Millisecond})
		h.listen("a")
		h.start()
		h.mentions(h.wait().Error(), "worker 1 (pid 5000001) of generation 1 was not ready within 7s: it listens on 127.0.0.1:9000 itself", "{fd}")
	})
}

// While some place is still tried, the others may already have failed.
func TestStartWaitsForEveryPlace(t *testing.T) {
	play(t, "workers = 2", func(h *harness) {
		h.deploy("v1", manner{ready: 200 * time.Millisecond})
		h.with(func() { h.deploys["v1/1"] = broken })
		h.start()
		h.pass(time.Minute)
		s := h.state(control.StateDegraded)
		h.mentions(s.Reason, "1 of 2 workers ready", "worker 1 (pid", "exit status 1")
		h.heard("READY=1", 1) // one serves: the pool is up, as well as it can be
		if s.Change.Kind != kindStart || s.Change.Outcome != control.OutcomeFailed || s.Change.Details == nil {
			t.Errorf("the start: %+v", s.Change)
		}
		h.with(func() { h.deploys["v1/1"] = good })
		h.pass(time.Minute)
		h.state(control.StateRunning)
		h.serve(1, 2)
	})
}

// One that cannot come up beside many that can is not tried as often as
// there are workers before systemd hears of the others.
func TestStartOfManyWithOneBad(t *testing.T) {
	play(t, "workers = 50", func(h *harness) {
		h.with(func() { h.deploys["v1/7"] = broken })
		h.start()
		h.pass(10 * time.Second)
		h.heard("READY=1", 1)
		h.state(control.StateDegraded)
	})
}

// A failure that goes on failing faster than its last lines come in does not
// put off the verdict.
func TestVerdictIsNotOvertaken(t *testing.T) {
	play(t, "workers = 1\n[restart]\nbackoff = \"10ms\"\nmax_backoff = \"10ms\"", func(h *harness) {
		how := broken
		how.tail = time.Second
		h.deploy("v1", how)
		h.start()
		begun := time.Now()
		h.mentions(h.wait().Error(), "(pid 5000001)", "no such table")
		if took := time.Since(begun); took > 3*time.Second {
			t.Errorf("the verdict took %v", took)
		}
	})
}

func TestBadConfigAtStart(t *testing.T) {
	play(t, "workers = 1\nworker = 2", func(h *harness) {
		h.start()
		err := h.wait()
		if e, ok := errors.AsType[*StartError](err); !ok || e.ExitCode() != control.ExitBadInput {
			t.Fatalf("Run: %v, want exit %d", err, control.ExitBadInput)
		}
		h.mentions(err.Error(), "/etc/fugue/web.toml:3:1: error: ", "worker")
		h.heard("READY=1", 0)
	})
}

// What is right in itself but cannot be done is not bad input, and nothing
// served before.
func TestStartRefused(t *testing.T) {
	play(t, "workers = 1", func(h *harness) {
		h.with(func() { h.refusal = control.Errorf(control.ExitUndone, "the check said no") })
		h.start()
		if err := h.wait(); exitOf(err) != control.ExitFailed {
			t.Errorf("Run: %v, want exit 1", err)
		}
	})
}

// systemd waits as long as the workers may need, however often they are tried.
func TestStartAsksForTime(t *testing.T) {
	play(t, "workers = 2\n[ready]\nwhen = \"notify\"\ntimeout = \"100s\"", func(h *harness) {
		h.with(func() { h.deploys["v1/2"], h.deploys["v1/3"] = hangs, hangs })
		h.start()
		h.extended(100*time.Second, 1)
		h.pass(101 * time.Second)
		h.extended(100*time.Second, 2)
		h.worker(3).say(h.worker(3).pid, "EXTEND_TIMEOUT_USEC=600000000") // the second, anew: the first drains
		h.pass(0)
		h.extended(10*time.Minute, 1)
		h.pass(9 * time.Minute)
		h.state(control.StateStarting)
	})
}

// A pool of no workers is up at once.
func TestStartOfNone(t *testing.T) {
	play(t, "workers = 0", func(h *harness) {
		h.start()
		h.heard("READY=1", 1)
		h.state(control.StateRunning)
		h.expect(h.scale(1), control.OutcomeOK, 0)
		h.serve(1, 1)
	})
}

// Where all may be unavailable, a start with nothing ready is none, and what
// a predecessor left serves until something is.
func TestStartNeedsOneReady(t *testing.T) {
	const file = "workers = 1\n[reload]\nmax_surge = 0\nmax_unavailable = 1"
	play(t, file, func(h *harness) {
		h.deploy("v1", broken)
		h.start()
		if err := h.wait(); err == nil {
			t.Error("it came up with nothing ready")
		}
		h.heard("READY=1", 0)
	})
	play(t, file, func(h *harness) {
		h.manners["stranger 7"] = good
		h.strangers = []int{7}
		h.deploy("v1", manner{ready: 10 * time.Second})
		h.start()
		h.pass(5 * time.Second)
		h.heard("READY=1", 0)
		stops := 1
		if p := h.stranger(7); p != nil {
			h.with(func() { stops = p.stops })
		}
		if stops > 0 {
			t.Error("the predecessor's process was ended before anything was ready")
		}
		h.pass(10 * time.Second)
		h.heard("READY=1", 1)
		if h.stranger(7) != nil {
			t.Error("the predecessor's process is still there")
		}
	})
}
