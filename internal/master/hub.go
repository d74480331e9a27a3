package master

import (
	"fmt"
	"slices"
	"time"

	"fugue/internal/control"
)

// hub numbers events and passes them on to those who follow the pool. It keeps
// the last few, for those who were cut off and come back.
type hub struct {
	followers []*follower
	last      int // the number of the last event
	first     int // the lowest that this master, or its images before, can know of
	recent    []control.Event
}

// savedEvents is what crosses an exec.
type savedEvents struct {
	Last   int             `json:"last"`
	First  int             `json:"first"`
	Recent []control.Event `json:"recent,omitempty"`
}

// keptEvents is how many of the last are kept.
const keptEvents = 256

// eventGap is more than any master gives out numbers between two writings of
// its state.
const eventGap = 1 << 16

// ceiling is a number that none of the next events reaches before the state is
// written again. It is the same for long, so that the state is.
func (h *hub) ceiling() int {
	if h.last == 0 {
		return 0
	}
	return (h.last/eventGap + 2) * eventGap
}

func (h *hub) save() *savedEvents { return &savedEvents{h.last, h.first, slices.Clone(h.recent)} }

func (h *hub) restore(s savedEvents) { h.last, h.first, h.recent = s.Last, s.First, s.Recent }

// succeed goes on with the numbers of a master that died.
func (h *hub) succeed(ceiling int) { h.last, h.first = max(h.last, ceiling), max(h.last, ceiling) }

type follower struct {
	events chan control.Event
	lost   int
}

// followerDepth is how many events wait for a slow follower.
const followerDepth = 256

// follow makes a follower of what happens from now on, or, where after is not
// negative, of all events with a higher number.
func (h *hub) follow(after int) *follower {
	var missed []control.Event
	if after >= 0 {
		missed = h.missed(after)
	}
	f := &follower{events: make(chan control.Event, followerDepth+len(missed))}
	for _, e := range missed {
		f.events <- e
	}
	h.followers = append(h.followers, f)
	return f
}

// missed are the events behind a number, before them one that says what is not
// known any more. Its number is the last of those.
func (h *hub) missed(after int) []control.Event {
	if after == h.last {
		return nil
	}
	known := h.last - len(h.recent)
	lost := control.Event{Time: time.Now(), Kind: "lost", Seq: known}
	switch {
	case after > h.last:
		lost.Text = "the events are those of another life of the pool: what came between is not known"
	case after < h.first:
		lost.Text = "the master before this one died: what happened between is not known"
	case after < known:
		lost.Text = fmt.Sprintf("%d events were lost: ask again sooner", known-after)
	default:
		return slices.Clone(h.recent[after-known:])
	}
	return append([]control.Event{lost}, h.recent...)
}

func (h *hub) unfollow(f *follower) {
	for i, x := range h.followers {
		if x == f {
			h.followers = append(h.followers[:i], h.followers[i+1:]...)
			close(f.events)
			return
		}
	}
}

// publish never waits: who does not keep up is told how much was missed.
func (h *hub) publish(e control.Event) {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	h.last++
	e.Seq = h.last
	if len(h.recent) == keptEvents {
		h.recent = slices.Delete(h.recent, 0, 1)
	}
	h.recent = append(h.recent, e)
	for _, f := range h.followers {
		if f.lost > 0 {
			missed := control.Event{Time: e.Time, Kind: "lost", Text: fmt.Sprintf("%d events were lost: read faster", f.lost)}
			select {
			case f.events <- missed:
				f.lost = 0
			default:
			}
		}
		select {
		case f.events <- e:
		default:
			f.lost++
		}
	}
}

func (h *hub) close() {
	for _, f := range h.followers {
		close(f.events)
	}
	h.followers = nil
}

// event is something that happened to a worker.
func event(kind string, w *worker, text string) control.Event {
	return control.Event{Kind: kind, Slot: w.slot, PID: w.process.PID(), Generation: int(w.generation), Text: text}
}
