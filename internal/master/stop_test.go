package master

import (
	"context"
	"errors"
	"os"
	"syscall"
	"testing"
	"time"

	"fugue/internal/control"
)

// A stop lets the workers end by themselves, as long as they may take.
func TestStop(t *testing.T) {
	for _, c := range []struct {
		name string
		how  manner
		file string
		took time.Duration
	}{
		{"drains", manner{drain: 3 * time.Second}, "workers = 3", 3 * time.Second},
		{"serves on first", manner{drain: time.Second}, "workers = 3\n[stop]\ndelay = \"5s\"", 6 * time.Second},
		{"is killed", manner{deaf: true}, "workers = 3\n[stop]\ntimeout = \"20s\"", 20 * time.Second},
		{"asked for more time", manner{drain: 40 * time.Second}, "workers = 1\n[stop]\ntimeout = \"20s\"", 40 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			play(t, c.file, func(h *harness) {
				h.deploy("v1", c.how)
				h.start()
				h.pass(10 * time.Second)
				p := h.worker(1)
				begun := time.Now()
				h.signal(syscall.SIGTERM)
				h.state(control.StateStopping)
				h.heard("STOPPING=1", 1)
				if c.how.drain > 20*time.Second {
					p.say(p.pid, "EXTEND_TIMEOUT_USEC=100000000")
					h.pass(0)
					h.extended(100*time.Second, 1) // as much as systemd is asked for
				}
				if err := h.wait(); err != nil {
					t.Errorf("Run: %v", err)
				}
				if took := time.Since(begun); took != c.took {
					t.Errorf("took %v, want %v", took, c.took)
				}
			})
		})
	}
}

// Asked for twice it comes at once: also while systemd is asked, also for
// what a predecessor left.
func TestSecondSignal(t *testing.T) {
	for _, c := range []struct {
		name  string
		unit  string
		first syscall.Signal
	}{{"decided", "", syscall.SIGINT}, {"asking", "web.service", syscall.SIGTERM}, {"quit", "web.service", syscall.SIGQUIT}} {
		t.Run(c.name, func(t *testing.T) {
			play(t, "workers = 2\n[stop]\ntimeout = \"infinity\"\ndelay = \"1h\"", func(h *harness) {
				h.m.opts.Unit = c.unit
				h.job = func(ctx context.Context) (string, error) { <-ctx.Done(); return "", ctx.Err() }
				h.deploy("v1", manner{deaf: true})
				h.manners["stranger 77"], h.strangers = manner{silent: true, deaf: true}, []int{77}
				h.start()
				h.pass(time.Second)
				h.signal(c.first)
				h.pass(time.Second)
				begun := time.Now()
				h.signal(syscall.SIGTERM)
				if err := h.wait(); err != nil || time.Since(begun) > 0 {
					t.Errorf("Run: %v after %v", err, time.Since(begun))
				}
				h.logged("again: killing all workers")
			})
		})
	}
}

// A terminal that goes away says so more than once; that is one stop. So is
// a stop that is asked for twice on the control socket.
func TestNotTwice(t *testing.T) {
	for name, again := range map[string]func(h *harness){
		"terminal": func(h *harness) { h.signalFrom(syscall.SIGHUP, false) },
		"control":  func(h *harness) { h.ask(func(m *Master) (control.Ticket, error) { return m.Stop(h.ctx) }) },
	} {
		t.Run(name, func(t *testing.T) {
			started(t, "workers = 1", func(h *harness) {
				h.worker(1).drain = 5 * time.Second
				begun := time.Now()
				again(h)
				h.pass(time.Second)
				again(h)
				if err := h.wait(); err != nil || time.Since(begun) != 5*time.Second {
					t.Errorf("Run: %v after %v", err, time.Since(begun))
				}
			})
		})
	}
}

func TestStopOnTheControlSocket(t *testing.T) {
	started(t, "workers = 2", func(h *harness) {
		h.expect(h.ask(func(m *Master) (control.Ticket, error) { return m.Stop(h.ctx) }), control.OutcomeOK, 0, "stopped")
		if err := h.wait(); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	started(t, "workers = 2", func(h *harness) {
		h.m.opts.Unit = "web.service"
		_, err := h.m.Stop(h.ctx)
		if exitOf(err) != control.ExitFailed {
			t.Fatalf("stop of a unit: %v, want exit 1", err)
		}
		h.mentions(err.Error(), "systemctl stop web.service")
		h.state(control.StateRunning)
	})
}

// What is under way is given up when the pool is stopped, and said so.
func TestStopDuringChanges(t *testing.T) {
	for name, prepare := range map[string]time.Duration{"rolling": 0, "preparing": time.Hour} {
		t.Run(name, func(t *testing.T) {
			started(t, "workers = 3", func(h *harness) {
				h.with(func() { h.prepare = prepare })
				h.deploy("v2", manner{ready: 30 * time.Second, drain: time.Second})
				running, waiting, scaling := h.reload(), h.reload(), h.scale(5)
				h.pass(5 * time.Second)
				if prepare > 0 {
					h.verdict(scaling)
				}
				c := h.ask(func(m *Master) (control.Ticket, error) { return m.Cancel(h.ctx) })
				h.m.report(call{func(m *Master, now time.Time) { m.stop(now, "both at once", true) }, make(chan struct{})})
				for _, a := range []*asked{running, waiting} {
					h.expect(a, control.OutcomeCancelled, control.ExitUndone)
				}
				if v := h.verdict(c); v.Kind != kindCancel {
					t.Errorf("cancel: %+v", v)
				}
				h.verdict(scaling)
				if err := h.wait(); err != nil {
					t.Errorf("Run: %v", err)
				}
			})
		})
	}
}

// A stop does not wait for a preparation longer than that takes to hear it,
// and takes back what it has bound.
func TestStopWhilePreparing(t *testing.T) {
	for _, deaf := range []bool{false, true} {
		play(t, "workers = 1", func(h *harness) {
			h.listen("a")
			h.start()
			h.pass(10 * time.Second)
			h.with(func() { h.prepare, h.deafPrep = 10*time.Second, deaf })
			h.listen("a", "b")
			a := h.reload()
			h.pass(time.Second)
			begun := time.Now()
			h.signal(syscall.SIGTERM)
			if err := h.wait(); err != nil {
				t.Errorf("Run: %v", err)
			}
			if took := time.Since(begun); !deaf && took > time.Second {
				t.Errorf("took %v", took)
			}
			h.expect(a, control.OutcomeCancelled, control.ExitUndone)
			h.noFiles()
		})
	}
}

func TestStopWhileStarting(t *testing.T) {
	for _, prepare := range []time.Duration{0, time.Minute} {
		play(t, "workers = 2", func(h *harness) {
			h.with(func() { h.prepare = prepare })
			h.deploy("v1", manner{ready: time.Minute, drain: time.Second})
			h.start()
			h.pass(time.Second)
			h.signal(syscall.SIGTERM)
			if err := h.wait(); err != nil {
				t.Errorf("Run: %v", err)
			}
			h.heard("READY=1", 0)
		})
	}
}

// Under systemd a TERM may be a restart: only for a stop are our own sockets
// closed, and that with the stop signals; else a successor finds them.
func TestJob(t *testing.T) {
	for _, c := range []struct {
		name   string
		job    string
		err    error
		delay  time.Duration // until systemd answers
		signal syscall.Signal
		closes bool
	}{
		{"stop", "stop", nil, 0, syscall.SIGTERM, true},
		{"restart", "restart", nil, 0, syscall.SIGTERM, false},
		{"start", "start", nil, 0, syscall.SIGTERM, false},
		{"none", "", nil, 0, syscall.SIGTERM, false},
		{"late", "stop", nil, 4 * time.Second, syscall.SIGTERM, true},
		{"refused", "stop", errors.New("access denied"), 0, syscall.SIGTERM, false},
		{"no answer", "stop", nil, time.Hour, syscall.SIGTERM, false},
		{"not asked", "restart", nil, 0, syscall.SIGINT, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			play(t, "workers = 2\n[stop]\ndelay = \"3s\"", func(h *harness) {
				h.m.opts.Unit = "web.service"
				h.job = func(ctx context.Context) (string, error) {
					select {
					case <-time.After(c.delay):
						return c.job, c.err
					case <-ctx.Done():
						return "", ctx.Err()
					}
				}
				h.deploy("v1", manner{drain: 10 * time.Second})
				h.listen("a")
				h.start()
				h.pass(10 * time.Second)
				if len(h.storedNow()) != 1 {
					t.Errorf("stored: %v", h.storedNow())
				}
				h.signal(c.signal)
				asking := min(c.delay, jobTimeout)
				if asking > 0 {
					h.pass(asking - time.Millisecond)
					if n := len(h.alive(0)); n != 2 {
						t.Errorf("%d workers serve while systemd is asked", n)
					}
					h.pass(time.Millisecond)
				}
				h.pass(2 * time.Second)
				if !h.bound("a") {
					t.Error("closed before the delay was over")
				}
				h.pass(2 * time.Second)
				if h.bound("a") == c.closes {
					t.Errorf("closed: %v, want %v", !h.bound("a"), c.closes)
				}
				if err := h.wait(); err != nil {
					t.Errorf("Run: %v", err)
				}
				if _, err := os.Stat(h.dir() + "/a"); (err != nil) != c.closes {
					t.Errorf("the socket's file: %v", err)
				}
				if stored := len(h.storedNow()) == 1; stored == c.closes {
					t.Errorf("in the fd store: %v", h.storedNow())
				}
				if h.m.finalStop() != c.closes {
					t.Errorf("for good: %v", h.m.finalStop())
				}
			})
		})
	}
}

// The program can end the master as well.
func TestContext(t *testing.T) {
	play(t, "workers = 2", func(h *harness) {
		ctx, cancel := context.WithCancel(context.Background())
		h.started = true
		go func() { h.result <- h.m.Run(ctx, Inheritance{}) }()
		h.pass(10 * time.Second)
		cancel()
		if err := h.wait(); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}
