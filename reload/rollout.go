// Package reload decides how far two generations of a pool may move next,
// and when to turn back:
//
//	a rollout moves the targets from one generation to the next, one safe
//	step at a time, or back.
//
// No worker of the old generation is told to stop before the first of the
// new one have proved themselves; going back is going forward with the
// generations exchanged; and if going back fails too, turning stops and what
// is ready stays. The package is pure: it reads no clock and starts nothing.
package reload

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"fugue/pool"
)

// Phase is where a rollout is.
type Phase int

// The phases.
const (
	Canary      Phase = iota // the first new workers have to become available; nothing old is touched
	Baking                   // they are, and have to stay so for a while
	Advancing                // step by step
	RollingBack              // the same way back
	Done                     // the new generation serves
	Undone                   // the old generation serves, as before
	Stuck                    // going back failed too; every ready worker stays
)

// String is the word that users see.
func (p Phase) String() string {
	return [...]string{"canary", "baking", "rolling", "rolling back", "done", "undone", "stuck"}[p]
}

// Over reports that the rollout moves no targets any more.
func (p Phase) Over() bool { return p >= Done }

// Limits are what a rollout is held to.
type Limits struct {
	Strategy Rolling
	Canary   int           // new workers that must be available before any old one is told to stop
	Bake     time.Duration // how long they must stay so
	Tolerate int           // failures of new workers that do not turn it back
	Timeout  time.Duration // for each of the two ways; 0: none
}

// ErrTimeout is why a rollout turns back that has not got through in time.
var ErrTimeout = errors.New("the rollout took too long")

// FailedError is why a rollout turns back when a worker of the new
// generation failed.
type FailedError struct{ pool.Failure }

func (e *FailedError) Error() string {
	what := "exited before it was available"
	switch {
	case e.Late:
		what = "died"
	case e.NotReady:
		what = "was not ready in time"
	case e.Launch:
		what = "could not be started"
	}
	return fmt.Sprintf("worker %d %s", e.Slot, what)
}

// Rollout is one move from the generations that serve to a new one.
type Rollout struct {
	limits Limits
	from   []pool.Generation // the one to go back to first; more than one after a stuck rollout
	to     pool.Generation
	want   int

	phase    Phase
	deadline time.Time
	bakedAt  time.Time     // while baking: when it will be over
	hold     int           // target of the old ones until the canaries have proved themselves
	before   int           // the most old workers that were ready while it advanced: the way back has to reach as many
	base     pool.Failures // of what is being gone to, when the present way began
	why      error
	stuck    error
}

// New begins a rollout of want workers. The generations of from that are not
// the first are leftovers of a rollout that got stuck: they go first, and
// are not gone back to.
func New(now time.Time, l Limits, from []pool.Generation, to pool.Generation, want int, p *pool.Pool) *Rollout {
	r := &Rollout{limits: l, from: slices.Clone(from), to: to, want: want, base: p.Failures(to)}
	r.hold = r.old(p).Wanted
	r.setDeadline(now)
	p.SetRollout(true)
	return r
}

func (r *Rollout) setDeadline(now time.Time) {
	if r.limits.Timeout > 0 {
		r.deadline = now.Add(r.limits.Timeout)
	}
}

// SetWant follows a scale during the rollout. More is given to the old ones
// while the new have not proved themselves; fewer waits until they have.
func (r *Rollout) SetWant(n int) {
	if r.hold > 0 {
		r.hold = max(r.hold, n)
	}
	r.want = n
}

// Cancel turns the rollout back, on the same road as a failure. It reports
// whether there was anything to turn.
func (r *Rollout) Cancel(why error) bool {
	if r.phase >= RollingBack || r.why != nil {
		return false
	}
	r.why = why
	return true
}

// Phase is the phase as of the last Next.
func (r *Rollout) Phase() Phase { return r.phase }

// To is the generation being gone to.
func (r *Rollout) To() pool.Generation { return r.to }

// Why is what turned the rollout back; nil while it advances.
func (r *Rollout) Why() error { return r.why }

// WhyStuck is what stopped the way back.
func (r *Rollout) WhyStuck() error { return r.stuck }

// Next looks at the pool and moves its targets as far as is safe now.
func (r *Rollout) Next(now time.Time, p *pool.Pool) Phase {
	if r.phase < RollingBack {
		r.advance(now, p)
	}
	if r.phase < RollingBack && r.why != nil {
		r.turn(now, p)
	}
	if r.phase == RollingBack {
		r.goBack(now, p)
	}
	p.SetRollout(!r.phase.Over())
	return r.phase
}

// Wake is when Next wants to be asked again if nothing happens before.
func (r *Rollout) Wake() time.Time {
	switch {
	case r.phase.Over():
		return time.Time{}
	case r.phase == Baking && (r.deadline.IsZero() || r.bakedAt.Before(r.deadline)):
		return r.bakedAt
	}
	return r.deadline
}

// Deadline is when the present way has taken too long; zero: never.
func (r *Rollout) Deadline() time.Time { return r.deadline }

func (r *Rollout) advance(now time.Time, p *pool.Pool) {
	if r.why == nil {
		r.why = r.trouble(now, p)
	}
	if r.why != nil {
		return
	}
	to := p.Count(r.to)
	r.before = max(r.before, r.old(p).Ready)
	r.gate(now, to)
	if r.phase != Advancing {
		oldTarget, newTarget := r.canaryStep()
		r.setOld(p, oldTarget)
		p.SetTarget(r.to, newTarget)
		return
	}
	oldTarget, newTarget := r.limits.Strategy.Step(r.want, r.old(p), to)
	r.setOld(p, oldTarget)
	p.SetTarget(r.to, newTarget)
	if to.Available >= r.want && oldTarget == 0 {
		r.phase = Done
	}
}

// trouble looks for what turns the rollout back.
func (r *Rollout) trouble(now time.Time, p *pool.Pool) error {
	if f := p.Failures(r.to); f.Total()-r.base.Total() > r.limits.Tolerate {
		return &FailedError{f.Last}
	}
	if r.tooLong(now) {
		return fmt.Errorf("%w (%v)", ErrTimeout, r.limits.Timeout)
	}
	return nil
}

// tooLong reports that the present way has taken too long. A look that comes
// late itself (see pool.Late) says nothing about that: the way has its whole
// time once more.
func (r *Rollout) tooLong(now time.Time) bool {
	if r.deadline.IsZero() || now.Before(r.deadline) {
		return false
	}
	late := pool.Late(now.Sub(r.deadline), r.limits.Timeout)
	if late {
		r.setDeadline(now)
	}
	return !late
}

// canaryStep is how far the two may go before the canaries have proved
// themselves. They come on top of max_surge if they are more; only where no
// surge is allowed at all do they take the place of old ones. Of no workers
// a share is nothing, and no word on whether surge is allowed.
func (r *Rollout) canaryStep() (oldTarget, newTarget int) {
	surge, unavailable := r.limits.Strategy.bounds(r.want)
	n := min(r.limits.Canary, r.want)
	if surge == 0 && r.want > 0 {
		n = min(n, unavailable)
		return min(r.hold, r.want-n), n
	}
	return r.hold, n
}

// gate opens the way from canary over baking to rolling. It never closes
// again: an old worker that was stopped cannot be unstopped by waiting.
func (r *Rollout) gate(now time.Time, to pool.Count) {
	if r.phase == Advancing {
		return
	}
	_, proven := r.canaryStep()
	if to.Available < proven {
		r.phase = Canary
		return
	}
	if r.phase == Canary {
		r.phase, r.bakedAt = Baking, now.Add(r.limits.Bake)
	}
	if !now.Before(r.bakedAt) || proven == 0 {
		r.phase = Advancing
	}
}

// old sums up the generations that are being left.
func (r *Rollout) old(p *pool.Pool) pool.Count {
	var c pool.Count
	for _, g := range r.from {
		c = c.Add(p.Count(g))
	}
	return c
}

// setOld moves the targets of what is being left: leftovers go first, and
// only the first generation is ever brought back.
func (r *Rollout) setOld(p *pool.Pool, n int) { Share(p, r.from, n) }
