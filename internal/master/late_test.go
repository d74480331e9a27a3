package master

import (
	"syscall"
	"testing"
	"time"

	"fugue/internal/control"
)

// letSleep has the loop stand still for what comes through sleeps, when it
// writes something down.
func (h *harness) letSleep() {
	h.onSave = func(bool) {
		select {
		case d := <-h.sleeps:
			<-time.After(d)
		default:
		}
	}
}

// standStill has the loop stand still for d, and no longer.
func (h *harness) standStill(p *process, d time.Duration) {
	h.sleeps <- d
	p.say(p.pid, "STATUS=something to write down")
	h.pass(d)
}

// gone reports that a process has ended.
func (p *process) gone() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// Workers that drain have not had the time in which the loop stood still, or in
// which there was no master: they have a whole timeout more, and then no more.
// systemd is asked to wait as long.
func TestTheLoopIsLateForAStop(t *testing.T) {
	const timeout, still = time.Minute, time.Hour
	loop := func(h *harness, p *process) { h.standStill(p, still) }
	for _, c := range []struct {
		name  string
		stop  func(h *harness)
		still func(h *harness, p *process)
	}{
		{"scale", func(h *harness) { h.scale(0) }, loop},
		{"end", func(h *harness) { h.signal(syscall.SIGTERM) }, loop},
		{"takeover", func(h *harness) { h.scale(0) }, func(h *harness, _ *process) {
			h.kill9()
			h.pass(still)
			h.succeed(false)
			h.pass(0)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			play(t, "workers = 2\n[stop]\ntimeout = \""+timeout.String()+"\"", func(h *harness) {
				h.letSleep()
				h.deploy("v1", manner{ready: time.Second, drain: still + timeout + 10*time.Second}) // it takes so much longer with all else
				h.with(func() { h.deploys["v1/1"] = manner{ready: time.Second, deaf: true} })
				h.start()
				h.pass(10 * time.Second)
				deaf, slow := h.worker(1), h.worker(2)
				h.forget()
				c.stop(h)
				h.pass(30 * time.Second)
				c.still(h, slow)
				if c.name == "end" {
					h.extended(timeout, 2) // when it began, and now
				}
				h.pass(timeout - time.Second)
				if !slow.gone() || deaf.gone() {
					t.Fatalf("the slow one has ended: %v, the deaf one: %v; %s", slow.gone(), deaf.gone(), h.tale())
				}
				h.logged("worker 2 (pid 5000002) of generation 1 stopped")
				h.pass(2 * time.Second)
				if !deaf.gone() {
					t.Errorf("the deaf one lives; %s", h.tale())
				}
				h.logged("killing worker 1 (pid 5000001)")
			})
		})
	}
}

// A predecessor's process is ended as a worker is, and systemd waits for it too.
func TestTheLoopIsLateForStrangers(t *testing.T) {
	for _, end := range []bool{false, true} {
		play(t, "workers = 1\n[stop]\ntimeout = \"1min\"", func(h *harness) {
			h.letSleep()
			h.left(manner{silent: true, deaf: true})
			h.deploy("v1", manner{ready: time.Second, drain: 30 * time.Second})
			h.start()
			h.pass(10 * time.Second)
			p := h.stranger(100)
			if end {
				h.signal(syscall.SIGTERM)
				h.sleeps <- time.Hour
				h.pass(time.Hour + 30*time.Second) // from the worker's end on
				h.extended(time.Minute, 2)
			} else {
				h.standStill(h.worker(1), time.Hour)
			}
			h.pass(59 * time.Second)
			if p.gone() {
				t.Fatalf("it was killed before its time; %s", h.tale())
			}
			h.pass(2 * time.Second)
			if !p.gone() {
				t.Errorf("it lives; %s", h.tale())
			}
		})
	}
}

// A rollout has its whole time once more, there and on the way back, and systemd
// is asked for it.
func TestTheLoopIsLateForAReload(t *testing.T) {
	scene := func(t *testing.T, how manner, then func(h *harness, a *asked)) {
		started(t, "workers = 1\n[ready]\nwhen = \"notify\"\ntimeout = \"infinity\"\n[reload]\ntimeout = \"1min\"", func(h *harness) {
			h.letSleep()
			h.deploy("v2", how)
			a := h.reload()
			h.pass(30 * time.Second)
			h.extended(time.Minute, 2) // to prepare, to advance
			h.standStill(h.worker(1), time.Hour)
			h.pass(0)
			h.extended(time.Minute, 3)
			then(h, a)
		})
	}
	scene(t, manner{ready: time.Hour + 80*time.Second}, func(h *harness, a *asked) {
		h.expect(a, control.OutcomeOK, control.ExitOK)
		h.serve(2, 1)
	})
	scene(t, hangs, func(h *harness, a *asked) {
		h.pass(59 * time.Second)
		h.state(control.StateReloading)
		h.expect(a, control.OutcomeUndone, control.ExitUndone, "took too long (1m0s)", "generation 1 serves")
		h.serve(1, 1)
	})
}

// A start has it, too: systemd waits for the workers that are given more time.
func TestTheLoopIsLateForAStart(t *testing.T) {
	play(t, "workers = 1\n[ready]\nwhen = \"notify\"\ntimeout = \"1min\"", func(h *harness) {
		h.letSleep()
		h.deploy("v1", manner{ready: time.Hour + 80*time.Second})
		h.start()
		h.extended(time.Minute, 1)
		h.pass(30 * time.Second)
		h.standStill(h.worker(1), time.Hour)
		h.extended(time.Minute, 2)
		h.pass(time.Minute)
		h.serve(1, 1)
		h.heard("READY=1", 1)
	})
}
