package pool

import "time"

// A worker leaves when another of its generation has become available in its
// place. Until then it lives beside those that are wanted: recycled ones serve
// on and are counted, hung ones are not.

// Recycle wants a worker replaced because of why: ByHand, Aged or Grown. Its
// turn comes when the pool is whole, no other is being replaced, and no rollout
// has a second generation in the pool. It reports whether that is news.
func (p *Pool) Recycle(id ID, why Why) bool {
	w := p.find(id)
	if w == nil || w.State == Stopping || w.due != Wanted {
		return false
	}
	w.due = why
	return true
}

// Spare takes back what Recycle has asked for; what is stopping already stops.
func (p *Pool) Spare(id ID) {
	if w := p.find(id); w != nil && w.State != Stopping {
		w.due = Wanted
		if w.Leaving.Recycled() {
			w.Leaving = Wanted
		}
	}
}

// Due is why a worker is to be recycled, whether its turn has come or not;
// Wanted if it is not.
func (p *Pool) Due(id ID) Why {
	if w := p.find(id); w != nil && w.State != Stopping {
		return w.due
	}
	return Wanted
}

// Spread is where a worker goes on the way to a limit that all of its generation
// have, in whatever unit: at 80 to 100 percent of it. Those that were started
// together, and live and grow alike, do not all get there at once.
func Spread(limit uint64, g Generation, slot int) uint64 {
	return limit - limit/5 + limit/5/1023*dice(g, slot, 0)
}

// oldest is when a worker is too old: between 80 and 100 percent of MaxAge,
// so that those started together do not all go at once; zero: never.
func (w *Worker) oldest(l Limits) time.Time {
	if l.MaxAge <= 0 {
		return time.Time{}
	}
	span := l.MaxAge / 5
	return w.Born.Add(l.MaxAge - span + 2*(jitter(span, w.Generation, w.Slot, 0)-span*3/4))
}

// agedAt is when the worker will be too old; zero: never, or it is, or it ends.
func (w *Worker) agedAt(l Limits) time.Time {
	if w.State == Stopping || w.due != Wanted {
		return time.Time{}
	}
	return w.oldest(l)
}

// age notes which workers are too old.
func (p *Pool) age(now time.Time) {
	for _, w := range p.workers {
		if at := w.oldest(p.generation(w.Generation).limits); !at.IsZero() && !now.Before(at) {
			p.Recycle(w.ID, Aged)
		}
	}
}

// relieve stops those that leave once as many others are available as are
// wanted.
func (p *Pool) relieve(now time.Time, g Generation, gen *generation) {
	serving := 0
	for _, w := range p.workers {
		if w.Generation == g && w.State == Available && w.Leaving == Wanted {
			serving++
		}
	}
	for _, w := range p.workers {
		if w.Generation == g && w.State != Stopping && w.Leaving != Wanted && serving >= gen.target {
			w.stop(now, w.Leaving, gen.limits)
		}
	}
}

// recycle lets the next worker leave whose turn it is: one at a time, and
// while no rollout replaces workers anyway.
func (p *Pool) recycle() {
	rolling, leaving := p.rolling(), false
	for _, w := range p.workers {
		switch {
		case w.State == Stopping || w.Leaving == Wanted:
		case rolling && w.Leaving.Recycled():
			w.Leaving = Wanted
		default:
			leaving = true
		}
	}
	if rolling || leaving {
		return
	}
	for _, w := range p.workers {
		if w.due == Wanted || w.State != Available {
			continue
		}
		if c := p.Count(w.Generation); c.Available == c.Wanted && c.Ready == c.Available && c.Starting == 0 {
			w.Leaving = w.due
			return
		}
	}
}

// rolling reports that a rollout is under way, or has left more than one
// generation wanted.
func (p *Pool) rolling() bool {
	n := 0
	for _, gen := range p.generations {
		if gen.target > 0 {
			n++
		}
	}
	return p.rollout || n > 1
}
