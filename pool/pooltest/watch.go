package pooltest

import (
	"time"

	"fugue/pool"
)

// watched is the world's own idea of whose silence counts.
func (p *Proc) watched() bool {
	return p.interval > 0 && p.Ready && !p.Stopping && !p.Leaving.Hung()
}

// recycled is the world's own idea of who serves until another has come.
func (p *Proc) recycled() bool { return !p.Stopping && p.Leaving.Recycled() }

func (p *Proc) heard(now time.Time) { p.pingBy, p.overdue = now.Add(p.interval), false }

// ping plans the next one of a worker that is well.
func (w *World) ping(p *Proc) {
	p.pingAt = time.Time{}
	if p.watched() && !p.Mute {
		p.pingAt = w.Now.Add(p.interval / 2)
	}
}

// SayAlive is WATCHDOG=1 of p.
func (w *World) SayAlive(p *Proc) {
	w.Pool.Alive(w.Now, p.ID)
	if p.watched() {
		p.heard(w.Now)
	}
	w.ping(p)
}

// SayWatch is WATCHDOG_USEC= of p.
func (w *World) SayWatch(p *Proc, interval time.Duration) {
	w.Pool.Watch(w.Now, p.ID, interval)
	if p.interval = interval; p.watched() {
		p.heard(w.Now)
	}
	w.ping(p)
}

// SayHangs is WATCHDOG=trigger of p, or what is found out about it.
func (w *World) SayHangs(p *Proc, why pool.Why) {
	w.promote(p)
	news := !p.Stopping && !p.Leaving.Hung()
	if news {
		w.hang(p, why)
	}
	if w.Pool.Hang(w.Now, p.ID, why) != news {
		w.Break("facts", "that #%d hangs is news: %v", p.ID, news)
	}
}

// Recycle asks for another in the place of p.
func (w *World) Recycle(p *Proc) {
	w.Pool.Recycle(p.ID, pool.ByHand)
	if !p.Stopping && w.Pool.Due(p.ID) == pool.Wanted {
		w.Break("facts", "#%d is not to be recycled", p.ID)
	}
}

// Spare takes back what Recycle has asked for.
func (w *World) Spare(p *Proc) {
	w.Pool.Spare(p.ID)
	if p.recycled() {
		p.Leaving = pool.Wanted
	}
}

// Calm ends what comes again and again: pings and ages. Those that hang by now
// are left to their end.
func (w *World) Calm() {
	for _, r := range w.Releases {
		r.Limits.Watchdog, r.Limits.MaxAge = 0, 0
		w.Pool.SetLimits(r.Number, r.Limits)
	}
	for _, p := range w.Procs {
		w.SayWatch(p, 0)
	}
	w.Settle()
}

// hang books what the watchdog has found.
func (w *World) hang(p *Proc, why pool.Why) {
	w.note(Event{Kind: "hangs: " + why.String(), Proc: p})
	p.booked, p.overdue, p.pingAt = true, false, time.Time{}
	switch {
	case !p.Available:
		w.book(p)
		p.readyAt = time.Time{}
	case p.Release.Limits.ReplaceFirst:
		p.Leaving = why
		return
	default:
		p.Leaving = why
	}
	p.Stopping, p.hasty, p.why, p.decided = true, true, why, w.Now
}

// watch is the world's own look at the clocks of the watchdogs: one that comes
// late gives everybody a whole interval.
func (w *World) watch() {
	late := false
	for _, p := range w.Procs {
		if p.watched() && !p.overdue && !w.Now.Before(p.pingBy) {
			p.overdue = true
			late = late || isLate(w.Now.Sub(p.pingBy), p.interval)
		}
	}
	for _, p := range w.Procs {
		if late && p.watched() {
			p.heard(w.Now)
		}
	}
}

// listen reads all that has been said, for the pool says that somebody is
// overdue.
func (w *World) listen() bool {
	if !w.Pool.Overdue() {
		return false
	}
	for _, p := range w.Procs {
		if !p.pingAt.IsZero() && !p.pingAt.After(w.Now) {
			w.SayAlive(p)
		}
	}
	for _, p := range w.Procs {
		if !p.watched() || !p.overdue {
			continue
		}
		if !p.Mute {
			w.Break("watchdog", "#%d pings as it should and is taken to hang", p.ID)
		}
		w.hang(p, pool.Silent)
	}
	w.Pool.Heard(w.Now, w.Now)
	return true
}

// checkLeaving follows who is to be recycled: one at a time, of a pool that is
// whole, and only while a single generation is wanted.
func (w *World) checkLeaving(p *Proc, now pool.Why) {
	old := p.Leaving
	switch {
	case now == old:
		return
	case now == pool.Wanted && old.Recycled() && w.rolling():
	case !now.Recycled() || old != pool.Wanted:
		w.Break("table", "#%d leaves (%v) and left (%v)", p.ID, now, old)
	case w.rolling():
		w.Break("one", "#%d is recycled, and two generations are wanted", p.ID)
	case !p.Available || w.available(p.Release) != w.Pool.Target(p.Release.Number):
		w.Break("one", "#%d is recycled with %d available", p.ID, w.available(p.Release))
	case now == pool.Aged && w.Now.Sub(p.born) < p.Release.Limits.MaxAge*4/5:
		w.Break("age", "#%d is recycled at the age of %v", p.ID, w.Now.Sub(p.born))
	}
	p.Leaving = now
	if now == pool.Wanted {
		return
	}
	w.note(Event{Kind: "is to leave: " + now.String(), Proc: p})
	for _, q := range w.Procs {
		if q != p && q.recycled() {
			w.Break("one", "#%d is recycled, and #%d too", p.ID, q.ID)
		}
	}
}

// checkRelieved: it leaves only when as many others are available as are wanted.
func (w *World) checkRelieved(p *Proc) {
	if n, target := w.available(p.Release), w.Pool.Target(p.Release.Number); n < target {
		w.Break("relieved", "#%d is stopped (%v) with %d others available, wanted are %d", p.ID, p.Leaving, n, target)
	}
}

// available counts those that stay.
func (w *World) available(r *Release) (n int) {
	for _, p := range w.Procs {
		if p.Release == r && p.Available && !p.Stopping && p.Leaving == pool.Wanted {
			n++
		}
	}
	return n
}

func (w *World) rolling() bool {
	n := 0
	for _, r := range w.Releases {
		if w.Pool.Target(r.Number) > 0 {
			n++
		}
	}
	return n > 1 || w.Rollout != nil && w.Rollout()
}

// checkWatched: nobody is overlooked, or kept for ever.
func (w *World) checkWatched(by func(t time.Time, p *Proc, what string)) {
	for _, p := range w.Procs {
		if p.watched() {
			by(p.pingBy, p, "is overdue")
		}
		if p.Stopping || p.Leaving == pool.Wanted {
			continue
		}
		if w.available(p.Release) >= w.Pool.Target(p.Release.Number) {
			w.Break("relieved", "#%d is not stopped, though others have taken its place", p.ID)
		}
	}
	if w.rolling() {
		w.checkUndisturbed()
		return
	}
	busy := false
	for _, p := range w.Procs {
		busy = busy || !p.Stopping && p.Leaving != pool.Wanted
	}
	for _, p := range w.Procs {
		age := p.Release.Limits.MaxAge
		if due := w.Pool.Due(p.ID) != pool.Wanted || age > 0 && w.Now.Sub(p.born) >= age; due && !busy && p.Available && !p.Stopping &&
			w.staying(p.Release) == w.Pool.Target(p.Release.Number) && w.available(p.Release) == w.staying(p.Release) {
			w.Break("age", "#%d is %v old and nobody is recycled", p.ID, w.Now.Sub(p.born))
		}
	}
}

// checkUndisturbed: a rollout decides alone who of those that serve goes.
func (w *World) checkUndisturbed() {
	for _, p := range w.Procs {
		if p.recycled() {
			w.Break("one", "#%d is still recycled, and two generations are wanted", p.ID)
		}
	}
}
