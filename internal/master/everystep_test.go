package master

import (
	"errors"
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"fugue/internal/control"
)

// The ways in which a master can be replaced at one step of its life. What it
// has written down is all that a successor can know, so its steps are the
// states that it writes.
const (
	diesBefore = "dies before the state is written" // the fact is lost
	diesAfter  = "dies before it acts on the state" // what was decided has not been done
	diesLater  = "dies when all is settled"
	handsOver  = "hands over"
)

// TestEveryStep runs one story, and runs it again with the master replaced at
// each of its steps in each of these ways. At the end there is what was asked
// for, everybody has had one answer, and never were fewer ready than allowed.
func TestEveryStep(t *testing.T) {
	steps := 0
	t.Run("undisturbed", func(t *testing.T) { steps = story(t, "", 0) })
	if steps < 20 {
		t.Fatalf("the story has %d steps", steps)
	}
	for _, way := range []string{diesBefore, diesAfter, diesLater, handsOver} {
		for k := 1; k <= steps; k++ {
			if !t.Run(fmt.Sprintf("%s/%d", way, k), func(t *testing.T) { story(t, way, k) }) {
				return
			}
		}
	}
}

// story reports how many states were written in it.
func story(t *testing.T, way string, k int) (steps int) {
	// A word that a master has heard and not written down is lost with it: a
	// worker that is seen to be ready is ready for the next one too.
	play(t, "workers = 2\n[ready]\nwhen = \"auto\"\n[stop]\ndelay = \"200ms\"", func(h *harness) {
		h.listen("a")
		h.onSave = func(stored bool) { h.step(way, k, &steps, stored) }
		h.with(func() { h.lossy = way == diesBefore })
		h.start()
		h.pass(10 * time.Second)
		serves, wanted := "v1", 2
		h.floor = 2
		h.deploy("v2", good)
		if h.insist(func(m *Master) (control.Ticket, error) { return m.Reload(h.ctx, control.ReloadRequest{}) }).Outcome == control.OutcomeOK {
			serves = "v2"
		}
		h.deploy("v3", broken)
		if c := h.insist(func(m *Master) (control.Ticket, error) { return m.Reload(h.ctx, control.ReloadRequest{}) }); c.Exit != control.ExitUndone {
			t.Errorf("the reload of a broken release: %+v", c)
		}
		if c := h.insist(func(m *Master) (control.Ticket, error) { return m.Scale(h.ctx, control.ScaleRequest{N: 4}) }); c.Outcome == control.OutcomeOK {
			wanted = 4
		} else {
			t.Errorf("the scale: %+v", c)
		}
		h.pass(time.Hour)
		s := h.state(control.StateRunning)
		h.serve(s.Generation, wanted)
		if got := h.m.generations[h.m.current].release.Path; got != serves {
			t.Errorf("%s serves, want %s", got, serves)
		}
		h.sizes(map[string]int{"generations": 1, "workers": wanted, "pool": 1, "leftovers": 0})
		h.floor = 0
		h.deploy(serves, good) // whoever comes after a stop that was decided starts anew
		h.finish()
	})
	return steps
}

// finish stops the pool, and whatever master comes if the first dies of it.
func (h *harness) finish() {
	h.Helper()
	h.signal(syscall.SIGTERM)
	for range 4 {
		select {
		case h.err = <-h.result:
			h.over = true
			synctest.Wait()
			if n := len(h.alive(0)); n > 0 {
				h.Errorf("%d live after the end", n)
			}
			return
		case <-time.After(time.Minute): // another serves, who knows of no stop
			synctest.Wait()
			h.signal(syscall.SIGTERM)
		}
	}
	h.Errorf("the pool does not stop; %s", h.tale())
}

// step is one state that is written, on the loop.
func (h *harness) step(way string, k int, steps *int, stored bool) {
	if !stored {
		*steps++
	}
	switch {
	case *steps != k:
	case way == diesBefore && !stored, way == diesAfter && stored:
		m := h.m
		for _, done := range m.answers { // a connection that is cut
			close(done)
		}
		h.with(func() { h.reign.cut = len(m.answers) > 0 })
		go h.afterlife()
		runtime.Goexit()
	case way == diesLater && stored:
		m := h.m
		go func() {
			m.report(died{})
			h.afterlife()
		}()
	case way == handsOver && stored:
		m := h.m
		go func() { _, _ = m.Upgrade(h.ctx) }()
	}
}

// afterlife is kill9 and succeed for a master that dies while the story goes
// on.
func (h *harness) afterlife() {
	<-h.m.ended
	<-time.After(time.Millisecond)
	h.with(func() {
		if s, err := decode(h.saved, "web"); err != nil || s.Master.Ended {
			clear(h.stored) // no state says what they are: they are bound anew
		}
	})
	h.remains()
	h.succeed(false)
}

// insist asks for a change until a master has taken it, and waits for its end.
func (h *harness) insist(what func(*Master) (control.Ticket, error)) control.Change {
	h.Helper()
	for range 100 {
		r := h.now()
		t, err := what(r.m)
		synctest.Wait()
		cut := false
		h.with(func() { cut = r.cut })
		if cut || errors.Is(err, errEnded) {
			h.pass(time.Second)
			continue
		}
		return h.verdict(h.follow(r, t, err))
	}
	h.Fatal("nobody takes the change")
	return control.Change{}
}
