package master

import (
	"errors"
	"net"
	"syscall"
	"testing"
	"time"

	"fugue/activation"
	"fugue/internal/control"
)

// refuser is a pool with a listener that can refuse, and one that cannot.
func refuser(t *testing.T, scene func(h *harness, address string)) {
	t.Helper()
	play(t, "workers = 2\nwhen_empty = \"refuse\"", func(h *harness) {
		dir := h.dir()
		h.with(func() {
			h.specs = []activation.Spec{{Name: "web", Stream: "127.0.0.1:0"}, {Name: "local", Stream: dir + "/local"}}
		})
		h.start()
		h.pass(10 * time.Second)
		address := h.status().Listeners[0].Address
		h.lets(address, true)
		scene(h, address)
	})
}

// lets checks whether a client is let in, or else refused.
func (h *harness) lets(address string, in bool) {
	h.Helper()
	conn, err := net.Dial("tcp", address)
	if err == nil {
		_ = conn.Close()
	}
	if (err == nil) != in || err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
		h.Errorf("connect: %v, want to be let in: %v; %s", err, in, h.tale())
	}
}

// lull passes time until a start has failed and the next is waited for.
func (h *harness) lull() {
	h.Helper()
	for range 1000 {
		if s := h.status(); len(s.Workers) == 0 && s.Reason != "" {
			return
		}
		h.pass(100 * time.Millisecond)
	}
	h.Fatalf("no lull; %s", h.tale())
}

func TestNoWorkerLeftRefuses(t *testing.T) {
	refuser(t, func(h *harness, address string) {
		h.perish()
		h.pass(time.Minute)
		h.lull()
		s := h.state(control.StateDegraded)
		h.mentions(s.Reason, "no worker is left, refusing connections", "ended with exit status 1")
		h.mentions(s.Listeners[0].Note, "refuses connections")
		status := h.messages("STATUS=")
		h.mentions(status[len(status)-1], "refusing connections")
		h.logged("connections to web are refused until one is started")
		h.logged("connections to local wait")
		h.lets(address, false)
		if !h.bound("local") {
			t.Error("a unix socket was shut down")
		}
		for _, l := range h.status().Listeners {
			if l.Address != address && l.Note != "" {
				t.Errorf("listener %s: %s", l.Name, l.Note)
			}
		}

		// While one is starting they wait, and then it serves them.
		h.deploy("v1", manner{ready: 20 * time.Second})
		for range 1000 {
			if len(h.alive(1)) > 0 {
				break
			}
			h.pass(100 * time.Millisecond)
		}
		h.lets(address, true)
		h.pass(time.Minute)
		h.serve(1, 2)
		h.state(control.StateRunning)
		h.lets(address, true)
	})
}

// A reload may bring workers back: they wait for its preparation, and are
// refused again where it is refused.
func TestRefusingDuringAReload(t *testing.T) {
	refuser(t, func(h *harness, address string) {
		h.perish()
		h.pass(time.Minute)
		h.with(func() { h.prepare, h.refusal = 5*time.Second, errors.New("no such user") })
		h.lull()
		h.lets(address, false)
		a := h.reload()
		h.lets(address, true)
		h.expect(a, control.OutcomeRefused, control.ExitUndone)
		h.lull()
		h.lets(address, false)
		h.with(func() { h.prepare, h.refusal = 0, nil })
		h.deploy("v2", good)
		h.expect(h.reload(), control.OutcomeOK, 0)
		h.lets(address, true)
		h.pass(time.Minute)
		h.serve(2, 2)
	})
}

// A successor finds listeners that are shut down, and goes on: it refuses while
// no worker is left, and lets in when one is started.
func TestRefusingIsSucceeded(t *testing.T) {
	for name, succeed := range map[string]func(h *harness){
		"handover": func(h *harness) { h.expect(h.upgrade(), control.OutcomeOK, 0) },
		"takeover": func(h *harness) { h.kill9(); h.succeed(false); h.pass(0) },
	} {
		t.Run(name, func(t *testing.T) {
			refuser(t, func(h *harness, address string) {
				h.perish()
				h.pass(time.Minute)
				h.lull()
				h.lets(address, false)
				succeed(h)
				h.lull()
				h.lets(address, false)
				h.deploy("v1", good)
				h.pass(time.Minute)
				h.serve(1, 2)
				h.lets(address, true)
			})
		})
	}
}

// Workers that are stopped on purpose leave connections waiting.
func TestPausedDoesNotRefuse(t *testing.T) {
	refuser(t, func(h *harness, address string) {
		h.perish()
		h.pass(time.Minute)
		h.lull()
		h.lets(address, false)
		h.signal(syscall.SIGWINCH)
		h.pass(time.Minute)
		h.lets(address, true)
	})
}
