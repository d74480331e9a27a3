package master

import (
	"testing/synctest"
	"time"

	"fugue/internal/control"
)

// asked is a change that somebody waits for.
type asked struct {
	number int
	events []control.Event
	done   chan struct{}
	lost   bool // the last master was gone before it could be asked
}

// ask asks the master of the moment for a change, and follows it.
func (h *harness) ask(what func(*Master) (control.Ticket, error)) *asked {
	h.Helper()
	r := h.now()
	t, err := what(r.m)
	return h.follow(r, t, err)
}

func (h *harness) follow(r *reign, t control.Ticket, err error) *asked {
	h.Helper()
	if err != nil {
		h.Fatalf("asked for a change: %v", err)
	}
	a := &asked{number: t.Change, done: make(chan struct{})}
	h.asked = append(h.asked, a)
	go h.attend(a, r, t.Events)
	synctest.Wait()
	return a
}

func (h *harness) reload() *asked {
	h.Helper()
	r := h.now()
	t, err := r.m.Reload(h.ctx, control.ReloadRequest{})
	return h.follow(r, t, err)
}

func (h *harness) reloadNow() *asked {
	h.Helper()
	r := h.now()
	t, err := r.m.Reload(h.ctx, control.ReloadRequest{Now: true})
	return h.follow(r, t, err)
}

func (h *harness) scale(n int) *asked {
	h.Helper()
	r := h.now()
	t, err := r.m.Scale(h.ctx, control.ScaleRequest{N: n})
	return h.follow(r, t, err)
}

// undecided checks that the change has no verdict yet.
func (h *harness) undecided(a *asked) {
	h.Helper()
	select {
	case <-a.done:
		h.Fatalf("change %d has ended already: %+v", a.number, a.events)
	default:
	}
}

// verdict waits for the end of a change.
func (h *harness) verdict(a *asked) control.Change {
	h.Helper()
	select {
	case <-a.done:
	case <-time.After(2 * time.Hour):
		h.Fatalf("change %d has no end; %s", a.number, h.tale())
	}
	synctest.Wait()
	return h.final(a)
}

// final is the one event that ends a change.
func (h *harness) final(a *asked) control.Change {
	h.Helper()
	if a.lost && exitOf(h.err) == control.ExitFailed {
		return control.Change{} // a pool that did not start has no successor either
	}
	var ends []control.Change
	for _, e := range a.events {
		if e.Change != nil && e.Change.State == control.ChangeDone && e.Change.Number == a.number {
			ends = append(ends, *e.Change)
		}
	}
	if len(ends) != 1 || a.events[len(a.events)-1].Change == nil {
		h.Fatalf("change %d: %d final events, want one and it the last: %+v; %s", a.number, len(ends), a.events, h.tale())
	}
	return ends[0]
}

// expect waits for a change and checks its verdict; every word of text must
// be in the message.
func (h *harness) expect(a *asked, outcome string, exit int, text ...string) control.Change {
	h.Helper()
	c := h.verdict(a)
	if c.Outcome != outcome || c.Exit != exit {
		h.Errorf("change %d: %s, exit %d (%s), want %s, exit %d", a.number, c.Outcome, c.Exit, c.Message, outcome, exit)
	}
	h.mentions(c.Message, text...)
	return c
}
