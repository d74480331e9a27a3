package pool

import "time"

// Fate is what an exit meant for the pool.
type Fate int

// The fates.
const (
	Asked   Fate = iota // it had been told to stop
	Clean               // ended well by itself, after MinUptime: servers with a limit of requests do that
	Died                // was available and ended badly
	Failed              // never became available
	Unknown             // no such worker: its exit had been reported before
)

// Failure is one worker that did not do what its generation is there for.
type Failure struct {
	ID       ID
	Slot     int
	PID      int
	Late     bool // it had been available
	NotReady bool // it was not ready within StartTimeout
	Launch   bool // it could not be started at all
	Hung     bool `json:",omitempty"` // the watchdog ended it
}

// Failures counts what went wrong with a generation since it came into being.
type Failures struct {
	Starts int     // workers that never became available
	Deaths int     // workers that were available and ended badly
	Last   Failure // the latest of either
}

// Total is the number of all of them.
func (f Failures) Total() int { return f.Starts + f.Deaths }

// Failures reports on g.
func (p *Pool) Failures(g Generation) Failures {
	if gen, ok := p.generations[g]; ok {
		return gen.failures
	}
	return Failures{}
}

// Spawned says that the process of a worker runs, and under which PID.
func (p *Pool) Spawned(id ID, pid int) {
	if w := p.find(id); w != nil {
		w.PID = pid
	}
}

// SpawnFailed says that a worker's process could not be made, or did not
// reach its command.
func (p *Pool) SpawnFailed(now time.Time, id ID) Fate {
	w := p.find(id)
	if w == nil {
		return Unknown
	}
	p.remove(w)
	if w.State == Stopping {
		return Asked
	}
	p.failed(now, w, Failure{Launch: true})
	return Failed
}

// Forget takes out a worker of which nobody can say whether it ever ran: it is
// no failure, and another takes its place at once.
func (p *Pool) Forget(id ID) {
	if w := p.find(id); w != nil {
		p.remove(w)
	}
}

// Ready says that a worker serves. It reports whether that is news.
func (p *Pool) Ready(now time.Time, id ID) bool {
	w := p.find(id)
	if w == nil || w.State != Starting {
		return false
	}
	w.State, w.Since = Ready, now
	w.heard(now)
	return true
}

// Unready says that a worker stops by itself (STOPPING=1): it is replaced
// now, and has StopTimeout to end. It reports whether that is news.
func (p *Pool) Unready(now time.Time, id ID) bool {
	w := p.find(id)
	if w == nil || w.State == Stopping {
		return false
	}
	p.promote(now, w)
	if w.State != Available {
		p.failed(now, w, Failure{})
		w.judged = true
	}
	w.Leaving, w.due = Wanted, Wanted
	w.stop(now, Itself, p.generation(w.Generation).limits)
	return true
}

// Extend gives a worker d more from now for what it is at, starting, stopping
// or its next word (EXTEND_TIMEOUT_USEC=). It never shortens.
func (p *Pool) Extend(now time.Time, id ID, d time.Duration) {
	w := p.find(id)
	if w == nil {
		return
	}
	until := now.Add(d)
	switch {
	case w.State == Starting && !w.readyBy.IsZero() && until.After(w.readyBy):
		w.readyBy = until
	case w.State == Stopping && !w.killAt.IsZero() && until.After(w.killAt):
		w.killAt = until
	case w.watched() && until.After(w.aliveBy):
		w.aliveBy, w.overdue = until, false
	}
}

// Exited says that a worker's process has ended; clean is what its exit
// status said of it.
func (p *Pool) Exited(now time.Time, id ID, clean bool) Fate {
	w := p.find(id)
	if w == nil {
		return Unknown
	}
	p.promote(now, w)
	p.remove(w)
	switch {
	case w.judged, w.State == Stopping && clean:
		return Asked
	case w.State == Starting, w.State == Ready:
		p.failed(now, w, Failure{})
		return Failed
	case clean:
		return Clean
	}
	p.died(w, Failure{})
	return Died
}

// died books the end of a worker that was available.
func (p *Pool) died(w *Worker, f Failure) {
	f.ID, f.Slot, f.PID, f.Late = w.ID, w.Slot, w.PID, true
	gen := p.generation(w.Generation)
	gen.failures.Deaths++
	gen.failures.Last = f
}

// Abandon ends everything at once: no targets, and SIGKILL for all.
func (p *Pool) Abandon(now time.Time) {
	for _, gen := range p.generations {
		gen.target = 0
	}
	for _, w := range p.workers {
		if w.State != Stopping {
			w.stop(now, Abandoned, Limits{})
		}
		w.Why, w.signalled, w.killAt = Abandoned, true, now
	}
}

// failed books a start that came to nothing.
func (p *Pool) failed(now time.Time, w *Worker, f Failure) {
	f.ID, f.Slot, f.PID = w.ID, w.Slot, w.PID
	gen := p.generation(w.Generation)
	gen.failures.Starts++
	gen.failures.Last = f
	gen.backoff.failed(now, w.Born)
}
