package pool

import (
	"slices"
	"time"
)

// Next settles the table: it returns what is to be done now and the moment
// at which it wants to be asked again if no fact comes before (zero: never).
// Actions are in the order in which they are to be done: what makes room
// before what fills it.
func (p *Pool) Next(now time.Time) (acts []Action, wake time.Time) {
	p.Pass(now)
	p.recycle()
	for g, gen := range p.generations {
		p.cull(now, g, gen)
		p.relieve(now, g, gen)
	}
	p.recycle() // the turn of the next may have come
	acts = p.end(now, acts)
	live := p.Generations()
	for again := true; again; {
		before := len(acts)
		for _, g := range live {
			acts = p.fill(now, g, acts)
		}
		// Another generation may have taken the slot that one waited for,
		// and the wait for the next free slot may be over already.
		again = len(acts) > before
	}
	return acts, p.wake(now, live)
}

// Pass books what the time alone has brought: workers that are available now,
// and such as were not ready in time. Next does it too; who moves targets by
// such facts calls it before, lest what failed is replaced and at once not
// wanted any more.
func (p *Pool) Pass(now time.Time) {
	for _, w := range p.workers {
		p.promote(now, w)
	}
	p.excuse(now)
	p.expire(now)
	p.watch(now)
	p.age(now)
}

// promote makes a worker available that has been ready for long enough.
func (p *Pool) promote(now time.Time, w *Worker) {
	gen := p.generation(w.Generation)
	if due := w.Since.Add(gen.limits.MinUptime); w.State == Ready && !now.Before(due) {
		w.State, w.Since = Available, due
		gen.backoff.succeeded()
	}
}

// expire gives up on workers that are not ready in time.
func (p *Pool) expire(now time.Time) {
	for _, w := range p.workers {
		if w.State == Starting && !w.readyBy.IsZero() && !now.Before(w.readyBy) {
			p.failed(now, w, Failure{NotReady: true})
			w.stop(now, NotReady, p.generation(w.Generation).limits)
		}
	}
}

// cull tells the surplus of a generation to stop: the not-ready first, then
// the youngest, so that what has proved itself longest stays.
func (p *Pool) cull(now time.Time, g Generation, gen *generation) {
	var staying []*Worker
	for _, w := range p.workers {
		if w.Generation == g && w.State != Stopping && w.Leaving == Wanted {
			staying = append(staying, w)
		}
	}
	surplus := len(staying) - gen.target
	if surplus <= 0 {
		return
	}
	slices.SortStableFunc(staying, func(a, b *Worker) int {
		if (a.State == Starting) != (b.State == Starting) {
			if a.State == Starting {
				return -1
			}
			return 1
		}
		return int(b.ID - a.ID)
	})
	for _, w := range staying[:surplus] {
		w.stop(now, Surplus, gen.limits)
	}
}

// end hands out the stop signals and kills that are due.
func (p *Pool) end(now time.Time, acts []Action) []Action {
	for _, w := range p.workers {
		if w.State != Stopping {
			continue
		}
		if !w.signalled && !now.Before(w.signalAt) {
			w.signalled = true
			w.setKill(now, p.generation(w.Generation).limits)
			acts = append(acts, w.action(Stop, w.Why))
		}
		if !w.killed && !w.killAt.IsZero() && !now.Before(w.killAt) {
			why := TimedOut
			if w.Why == Abandoned {
				why = Abandoned
			}
			acts = append(acts, w.kill(why))
		}
	}
	return p.thin(acts)
}

// thin kills the longest-draining workers beyond max_draining, to make room
// for those told after them. What was told in one instant, when the pool is
// scaled down or ends, drains together: killing some of it at once would give
// them no time at all.
func (p *Pool) thin(acts []Action) []Action {
	if p.maxDraining == 0 {
		return acts
	}
	var draining []*Worker
	for _, w := range p.workers {
		if w.draining() {
			draining = append(draining, w)
		}
	}
	slices.SortStableFunc(draining, func(a, b *Worker) int { return a.Since.Compare(b.Since) })
	for len(draining) > p.maxDraining && draining[0].Since.Before(draining[len(draining)-1].Since) {
		acts = append(acts, draining[0].kill(Crowded))
		draining = draining[1:]
	}
	return acts
}

func (w *Worker) kill(why Why) Action {
	w.killed, w.judged = true, true
	return w.action(Kill, why)
}

func (w *Worker) action(v Verb, why Why) Action {
	return Action{Verb: v, ID: w.ID, Slot: w.Slot, Generation: w.Generation, Why: why}
}

// fill spawns what is missing of a generation, each into the lowest slot
// that is free among all living workers, as far as backoff lets it.
func (p *Pool) fill(now time.Time, g Generation, acts []Action) []Action {
	gen := p.generation(g)
	for range p.missing(g) {
		slot := p.freeSlot()
		if gen.backoff.until(g, slot, gen.limits).After(now) {
			break
		}
		p.lastID++
		w := &Worker{ID: p.lastID, Slot: slot, Generation: g, State: Starting, Born: now, Since: now}
		if gen.limits.StartTimeout > 0 {
			w.readyBy = now.Add(gen.limits.StartTimeout)
		}
		w.interval = gen.limits.Watchdog
		p.workers = append(p.workers, w)
		acts = append(acts, w.action(Spawn, Wanted))
	}
	return acts
}

func (p *Pool) missing(g Generation) int {
	return max(0, p.Target(g)-p.Count(g).Alive())
}

func (p *Pool) freeSlot() int {
	used := make([]bool, len(p.workers)+2)
	for _, w := range p.workers {
		if w.Slot < len(used) {
			used[w.Slot] = true
		}
	}
	return 1 + slices.Index(used[1:], false)
}

// wake is the earliest moment at which the table changes by time alone.
func (p *Pool) wake(now time.Time, live []Generation) time.Time {
	var wake time.Time
	sooner := func(all ...time.Time) {
		for _, t := range all {
			if t.After(now) && (wake.IsZero() || t.Before(wake)) {
				wake = t
			}
		}
	}
	for _, w := range p.workers {
		l := p.generation(w.Generation).limits
		sooner(w.silentAt(), w.agedAt(l))
		switch {
		case w.State == Starting && !w.readyBy.IsZero():
			sooner(w.readyBy)
		case w.State == Ready:
			sooner(w.Since.Add(l.MinUptime))
		case w.State == Stopping && !w.signalled:
			sooner(w.signalAt)
		case w.State == Stopping && !w.killed && !w.killAt.IsZero():
			sooner(w.killAt)
		}
	}
	for _, g := range live {
		if gen := p.generation(g); p.missing(g) > 0 {
			sooner(gen.backoff.until(g, p.freeSlot(), gen.limits))
		}
	}
	return wake
}
