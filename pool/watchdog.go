package pool

import "time"

// A worker is watched from the moment it is ready until it is told to stop:
// it has to be heard of once in every interval. Its word may have been said
// and not read yet, so the pool judges nobody by its own clock alone. It says
// that somebody is overdue, and judges when it is told that all words have
// been read.

// watched reports that a worker's silence would be held against it.
func (w *Worker) watched() bool {
	return w.interval > 0 && (w.State == Ready || w.State == Available) && !w.Leaving.Hung()
}

// heard gives the worker a whole interval from now.
func (w *Worker) heard(now time.Time) { w.aliveBy, w.overdue = now.Add(w.interval), false }

// Alive says that a worker has been heard of (WATCHDOG=1).
func (p *Pool) Alive(now time.Time, id ID) {
	if w := p.find(id); w != nil && w.watched() {
		w.heard(now)
	}
}

// Watch gives a worker another interval than its generation's
// (WATCHDOG_USEC=), beginning now; 0 ends the watching.
func (p *Pool) Watch(now time.Time, id ID, interval time.Duration) {
	w := p.find(id)
	if w == nil {
		return
	}
	w.interval = interval
	if w.watched() {
		w.heard(now)
	}
}

// Overdue reports that the silence of a worker has lasted too long as far as
// is known. Whoever asks has to read what has not been read, and say Heard.
func (p *Pool) Overdue() bool {
	for _, w := range p.workers {
		if w.watched() && w.overdue {
			return true
		}
	}
	return false
}

// Heard says that all words are known that had been said until at: a worker
// that was overdue then, and is still, hangs.
func (p *Pool) Heard(now, at time.Time) {
	for _, w := range p.workers {
		if w.watched() && w.overdue && !at.Before(w.aliveBy) {
			p.hung(now, w, Silent)
		}
	}
}

// Hang says that a worker is known to hang: why is Triggered or Unread. It
// reports whether that is news.
func (p *Pool) Hang(now time.Time, id ID, why Why) bool {
	w := p.find(id)
	if w == nil || w.State == Stopping || w.Leaving.Hung() {
		return false
	}
	p.promote(now, w)
	p.hung(now, w, why)
	return true
}

// hung books a worker that hangs and ends it: with the signal of the watchdog,
// and only when another has taken its place if that is wanted. One that never
// was available is not worth keeping so long.
func (p *Pool) hung(now time.Time, w *Worker, why Why) {
	gen := p.generation(w.Generation)
	f := Failure{Hung: true}
	if w.State != Available {
		p.failed(now, w, f)
		w.stop(now, why, gen.limits)
		return
	}
	p.died(w, f)
	w.judged, w.overdue = true, false
	if w.Leaving = why; !gen.limits.ReplaceFirst {
		w.stop(now, why, gen.limits)
	}
}

// silentAt is when the worker will be overdue; zero: never, or it is.
func (w *Worker) silentAt() time.Time {
	if !w.watched() || w.overdue {
		return time.Time{}
	}
	return w.aliveBy
}

// watch looks at the deadlines that have passed. If it comes late itself (see
// Late), everybody gets a whole interval more.
func (p *Pool) watch(now time.Time) {
	late := false
	for _, w := range p.workers {
		if w.watched() && !w.overdue && !now.Before(w.aliveBy) {
			w.overdue = true
			late = late || Late(now.Sub(w.aliveBy), w.interval)
		}
	}
	if !late {
		return
	}
	for _, w := range p.workers {
		if w.watched() {
			w.heard(now)
		}
	}
}
