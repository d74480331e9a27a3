package master

import (
	"fmt"
	"time"

	"fugue/internal/control"
)

// hub passes events on to those who follow the pool.
type hub struct{ followers []*follower }

type follower struct {
	events chan control.Event
	lost   int
}

// followerDepth is how many events wait for a slow follower.
const followerDepth = 256

func (h *hub) follow() *follower {
	f := &follower{events: make(chan control.Event, followerDepth)}
	h.followers = append(h.followers, f)
	return f
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
