package master

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"testing/synctest"
	"time"

	"fugue/activation"
	"fugue/internal/control"
	"fugue/pool"
)

// reign is the time of one master.
type reign struct {
	m    *Master
	next *reign
	over chan struct{} // closed when next is there
	cut  bool          // it died with somebody waiting for its word
}

// another makes the next master; nothing begins yet.
func (h *harness) another(unit string) {
	clock := func() time.Duration { return time.Since(h.begun) + time.Hour }
	h.m = New(Options{Name: "web", Version: "1", Log: h.log, Unit: unit, Clock: clock}, h.world)
	r := &reign{m: h.m, over: make(chan struct{})}
	h.with(func() {
		h.bury()
		h.world.report, h.world.dead = h.m.report, make(chan struct{})
		h.world.executed = func() { go h.succeed(true) }
		if h.reign != nil {
			h.reign.next = r
			close(h.reign.over)
		}
		h.reign = r
	})
}

// now is the reign of the moment. An exec may come right behind an answer.
func (h *harness) now() *reign {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.reign
}

// died is what no master notices: its own sudden end.
type died struct{}

func (died) apply(*Master, time.Time) { runtime.Goexit() }

// kill9 ends the master between two facts; its workers live on, but for those
// that it had not let run yet.
func (h *harness) kill9() {
	h.m.report(died{})
	<-h.m.ended
	synctest.Wait()
	select {
	case h.err = <-h.result: // it had come to its end
		h.over = true
	default:
	}
	h.remains()
}

// remains are what is left of a master that has died.
func (h *harness) remains() {
	h.with(func() {
		h.bury()
		// What nobody keeps is gone with a process. Its path would stay, until it
		// is bound again.
		for _, l := range h.opened {
			if set, err := activation.Restore([]activation.Listener{l}); err == nil && h.stored[l.StoreName] == 0 {
				_ = set.Close(true)
			}
		}
		h.opened = slices.DeleteFunc(h.opened, func(l activation.Listener) bool { return h.stored[l.StoreName] == 0 })
	})
}

// bury ends what a master had going beside itself.
func (w *world) bury() {
	w.away = false
	if w.dead != nil {
		close(w.dead)
		w.dead = nil
	}
}

// succeed starts the next master with what the last one wrote down.
func (h *harness) succeed(handover bool) {
	last := h.m
	<-last.ended
	in := Inheritance{Handover: handover, Strangers: h.unknown()}
	s, err := decode(h.stepped(), "web")
	switch {
	case h.saved == nil:
		h.another(last.opts.Unit)
		h.begin(in)
		return
	case err != nil:
		h.Errorf("the state cannot be read: %v", err)
		return
	case s.Master.Ended:
		for _, p := range h.alive(0) {
			in.Strangers = append(in.Strangers, p.pid)
		}
	default:
		in.State, in.Sockets = s, map[pool.Generation]*activation.Set{}
		seen := map[uint64]bool{}
		was := [][]activation.Listener{last.sockets.Listeners()} // open ones are in the store
		for _, g := range s.serving() {
			was = append(was, g.Sockets)
		}
		var held []activation.Listener
		for _, l := range slices.Concat(was...) {
			if !seen[l.Inode] {
				seen[l.Inode] = true
				held = append(held, l)
			}
		}
		if in.Held, err = activation.Restore(held); err != nil {
			h.Errorf("the sockets: %v", err)
		}
		for _, g := range s.Generations {
			in.Sockets[g.Number], _ = in.Held.Again(g.Sockets)
		}
	}
	h.another(last.opts.Unit)
	h.m.opts.Watchdog = last.opts.Watchdog
	h.begin(in)
}

// unknown are the processes that a predecessor of all masters left.
func (h *harness) unknown() (pids []int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for pid := range h.processes {
		if pid < 1000 {
			pids = append(pids, pid)
		}
	}
	return pids
}

func (h *harness) begin(in Inheritance) {
	m := h.m
	go func() { h.result <- m.Run(context.Background(), in) }()
}

// attend collects the events of a change, from one master after the other, as
// a client does.
func (h *harness) attend(a *asked, r *reign, events <-chan control.Event) {
	defer close(a.done)
	for {
		if h.attendOnce(a, r, events) {
			return
		}
		select {
		case <-r.over:
			r = r.next
		case <-h.ctx.Done():
			a.lost = true
			return
		}
		again, err := heed(h.ctx, r.m)
		if err != nil {
			continue // it is gone as well
		}
		c, err := r.m.Change(h.ctx, a.number)
		switch {
		case errors.Is(err, errEnded):
			continue
		case err != nil:
			h.Errorf("change %d: %v", a.number, err)
			return
		case c.State == control.ChangeDone:
			h.promisesOfAnswer(&c)
			a.events = append(a.events, control.Event{Kind: "change", Change: &c})
			return
		}
		events = again
	}
}

// attendOnce reports whether the change has ended, or else its master.
func (h *harness) attendOnce(a *asked, r *reign, events <-chan control.Event) bool {
	hear := func(e control.Event, ok bool) (over bool) {
		if ok {
			a.events = append(a.events, e)
			h.promisesOfAnswer(e.Change)
		}
		return !ok && a.ended() || ok && a.ended()
	}
	for {
		select {
		case e, ok := <-events:
			if hear(e, ok) {
				return true
			}
			if !ok {
				<-r.m.ended
				return false
			}
		case <-r.m.ended:
			for { // what it said last
				select {
				case e, ok := <-events:
					if hear(e, ok) {
						return true
					}
					if !ok {
						return false
					}
				default:
					return false
				}
			}
		}
	}
}

// ended reports whether the verdict has come.
func (a *asked) ended() bool {
	if len(a.events) == 0 {
		return false
	}
	c := a.events[len(a.events)-1].Change
	return c != nil && c.Number == a.number && c.State == control.ChangeDone
}
