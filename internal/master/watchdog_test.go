package master

import (
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"fugue/internal/control"
	"fugue/internal/notify"
)

var pings = manner{ready: 100 * time.Millisecond, drain: 50 * time.Millisecond, ping: 5 * time.Second}

// watched is a scene with workers that ping every five seconds.
func watched(t *testing.T, how manner, tables string, scene func(h *harness)) {
	t.Helper()
	play(t, "workers = 3\n[watchdog]\ntimeout = \"10s\"\n"+tables, func(h *harness) {
		h.deploy("v1", how)
		h.letSleep()
		h.start()
		h.pass(10*time.Minute + time.Second)
		h.serve(1, 3)
		if h.bornNow() != 3 {
			t.Errorf("%d workers in ten minutes in which nobody hung", h.bornNow())
		}
		h.forget()
		scene(h)
	})
}

// hang ends the pings of a worker.
func (p *process) hang() { p.hangs <- struct{}{} }

func TestLatePing(t *testing.T) {
	watched(t, pings, "", func(h *harness) {
		p := h.worker(2)
		p.hang()
		h.pass(11 * time.Second)
		h.serve(1, 3)
		if h.bornNow() != 4 || p.lastNow() != syscall.SIGABRT {
			t.Errorf("%d workers in all, and the one that hung got %v; want 4 and SIGABRT; %s", h.bornNow(), p.lastNow(), h.tale())
		}
		h.logged("stopping worker 2", "sent no WATCHDOG=1 in time")
		h.logged("worker 2 (pid 5000002) of generation 1 ended")
		h.pass(10 * time.Minute)
		if h.bornNow() != 4 {
			t.Errorf("%d workers in all", h.bornNow())
		}
	})
}

// One that is stopped (SIGSTOP) hears no signal: it is killed.
func TestLatePingOfADeafOne(t *testing.T) {
	deaf := pings
	deaf.deaf = true
	watched(t, deaf, "signal = \"QUIT\"\nkill_after = \"3s\"\n[stop]\ntimeout = \"5s\"", func(h *harness) {
		p := h.worker(1)
		p.hang()
		h.pass(12 * time.Second)
		select {
		case <-p.ended:
			t.Error("it was killed before its time")
		default:
		}
		h.pass(2 * time.Second)
		select {
		case <-p.ended:
		default:
			t.Errorf("it lives; %s", h.tale())
		}
		if p.lastNow() != syscall.SIGQUIT {
			t.Errorf("it got %v", p.lastNow())
		}
	})
}

func TestLatePingReplacedFirst(t *testing.T) {
	slow := pings
	slow.ready = 8 * time.Second
	watched(t, slow, "replace_first = true", func(h *harness) {
		p := h.worker(2)
		p.hang()
		h.pass(11 * time.Second)
		if p.lastNow() != 0 || len(h.alive(1)) != 4 {
			t.Errorf("%d live, and the one that hangs got %v; %s", len(h.alive(1)), p.lastNow(), h.tale())
		}
		s := h.status()
		h.mentions(s.Workers[1].Note, "sent no WATCHDOG=1 in time", "take its place first")
		if s.Ready != 2 {
			t.Errorf("%d are ready, and one hangs", s.Ready)
		}
		h.upgrade() // the successor knows which one it is
		h.pass(10 * time.Second)
		h.serve(1, 3)
		if p.lastNow() != syscall.SIGABRT {
			t.Errorf("it got %v", p.lastNow())
		}
	})
}

func TestTrigger(t *testing.T) {
	started(t, "workers = 2", func(h *harness) {
		p := h.worker(1)
		p.say(p.pid, "WATCHDOG=trigger")
		h.pass(time.Second)
		h.serve(1, 2)
		if p.lastNow() != syscall.SIGABRT || h.bornNow() != 3 {
			t.Errorf("it got %v; %d workers in all", p.lastNow(), h.bornNow())
		}
	})
}

// A worker changes its own interval, and gives it up; a successor knows.
func TestWatchdogInterval(t *testing.T) {
	for name, succeed := range map[string]func(h *harness){
		"same":     func(*harness) {},
		"handover": func(h *harness) { h.upgrade() },
		"takeover": func(h *harness) { h.kill9(); h.succeed(false); h.pass(0) },
	} {
		t.Run(name, func(t *testing.T) {
			watched(t, pings, "", func(h *harness) {
				p, q := h.worker(1), h.worker(2)
				p.say(p.pid, "WATCHDOG_USEC=60000000")
				p.hang()
				q.say(q.pid, "WATCHDOG_USEC=0")
				q.hang()
				succeed(h)
				h.pass(50 * time.Second)
				if h.bornNow() != 3 {
					t.Fatalf("%d workers in all; %s", h.bornNow(), h.tale())
				}
				h.pass(15 * time.Second)
				if h.bornNow() != 4 {
					t.Errorf("%d workers in all, want 4; %s", h.bornNow(), h.tale())
				}
				h.pass(10 * time.Minute)
				if h.bornNow() != 4 {
					t.Errorf("the one that is not watched any more was ended; %s", h.tale())
				}
			})
		})
	}
}

// More time until the next ping, as systemd gives it.
func TestWatchdogExtended(t *testing.T) {
	watched(t, pings, "", func(h *harness) {
		p := h.worker(1)
		p.hang()
		p.say(p.pid, "EXTEND_TIMEOUT_USEC=60000000")
		h.pass(59 * time.Second)
		if h.bornNow() != 3 {
			t.Fatalf("%d workers in all; %s", h.bornNow(), h.tale())
		}
		h.pass(2 * time.Second)
		if h.bornNow() != 4 {
			t.Errorf("%d workers in all, want 4", h.bornNow())
		}
	})
}

// A loop that stood still for a minute, or with it the whole machine, says
// nothing about the workers.
func TestTheLoopIsLate(t *testing.T) {
	for _, span := range []time.Duration{time.Minute, time.Hour} {
		watched(t, pings, "", func(h *harness) {
			p := h.worker(3)
			p.hang() // it is found all the same, an interval later
			h.sleeps <- span
			p.say(p.pid, "STATUS=something to write down")
			h.pass(span + 5*time.Second)
			if h.bornNow() != 3 {
				t.Errorf("%d workers in all: after a stop of %v somebody was taken to hang; %s", h.bornNow(), span, h.tale())
			}
			h.pass(10 * time.Minute)
			if h.bornNow() != 4 || p.lastNow() != syscall.SIGABRT {
				t.Errorf("%d workers in all; %s", h.bornNow(), h.tale())
			}
		})
	}
}

// A ping that waits behind ten thousand datagrams of a stranger is not late.
func TestPingBehindAFlood(t *testing.T) {
	late := pings
	late.ping = 0
	play(t, "workers = 1\n[watchdog]\ntimeout = \"10s\"", func(h *harness) {
		h.deploy("v1", late)
		h.deferSync = make(chan struct{})
		h.start()
		h.pass(9 * time.Second)
		p := h.worker(1)
		h.pass(2 * time.Second) // overdue as far as is known
		for i := range 10_000 {
			h.m.report(datagram{notify.Message{PID: 1_000_000 + i, Fields: map[string]string{"WATCHDOG": "1"}}})
		}
		p.say(p.pid, "WATCHDOG=1")
		close(h.deferSync)
		h.pass(8 * time.Second)
		if h.bornNow() != 1 || h.status().Strangers != 10_000 {
			t.Errorf("%d workers, %d datagrams of strangers; %s", h.bornNow(), h.status().Strangers, h.tale())
		}
		h.pass(3 * time.Second)
		synctest.Wait()
		if h.bornNow() != 2 {
			t.Errorf("%d workers in all, want 2: it never said a word again", h.bornNow())
		}
	})
}

// A new release whose workers hang is undone.
func TestRolloutOfHangs(t *testing.T) {
	watched(t, pings, "[reload]\nbake = \"30s\"", func(h *harness) {
		silent := good
		h.deploy("v2", silent)
		h.expect(h.reload(), control.OutcomeUndone, control.ExitUndone, "of generation 2 hung and was ended by the watchdog")
		h.pass(time.Second)
		h.serve(1, 3)
	})
}

// A worker that leaves a connection unread is found by a look, and only that
// one; without [watchdog] stuck nobody looks.
func TestUnread(t *testing.T) {
	started(t, "workers = 3", func(h *harness) {
		h.with(func() { h.unread = map[int]time.Time{h.processes[5_000_002].pid: time.Now()} })
		h.pass(time.Hour)
		if h.bornNow() != 3 || h.looksNow() != 0 {
			t.Errorf("%d workers, %d looks", h.bornNow(), h.looksNow())
		}
	})
	started(t, "workers = 3\n[watchdog]\nstuck = \"20s\"", func(h *harness) {
		p := h.worker(2)
		h.with(func() { h.unread = map[int]time.Time{p.pid: time.Now(), 1: time.Now()} })
		h.pass(19 * time.Second)
		if h.bornNow() != 3 {
			t.Fatalf("%d workers; %s", h.bornNow(), h.tale())
		}
		h.pass(6 * time.Second)
		h.serve(1, 3)
		if h.bornNow() != 4 || p.lastNow() != syscall.SIGABRT {
			t.Errorf("%d workers, and it got %v; %s", h.bornNow(), p.lastNow(), h.tale())
		}
		h.logged("worker 2", "left a connection unread for 20")
		h.kill9()
		h.succeed(false)
		looks := h.looksNow()
		h.pass(time.Minute)
		if n := h.looksNow() - looks; n < 12 || n > 14 {
			t.Errorf("%d looks in a minute", n)
		}
	})
}
