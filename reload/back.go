package reload

import (
	"fmt"
	"time"

	"fugue/pool"
)

// The way back is the roll with the generations exchanged. It waits for as many
// old workers as were ready before, and ends stuck if they cannot be had.

// turn begins the way back. Where nothing was taken from the old ones there
// is nothing to wait for, however they are.
func (r *Rollout) turn(now time.Time, p *pool.Pool) {
	r.phase = RollingBack
	if r.old(p).Wanted >= r.hold {
		r.before = 0
	}
	r.base = r.oldFailures(p)
	r.setDeadline(now)
}

func (r *Rollout) goBack(now time.Time, p *pool.Pool) {
	f := r.oldFailures(p)
	switch {
	case f.Starts-r.base.Starts > r.limits.Tolerate:
		r.stuck = &FailedError{f.Last}
	case r.tooLong(now):
		r.stuck = fmt.Errorf("going back: %w (%v)", ErrTimeout, r.limits.Timeout)
	}
	newer, old := p.Count(r.to), r.old(p)
	if r.stuck != nil {
		// Whoever serves stays; the old release gets what is missing, and
		// the pool goes on trying, slowed by its backoff.
		r.phase = Stuck
		p.SetTarget(r.to, newer.Ready)
		r.setOld(p, max(old.Ready, r.want-newer.Ready))
		return
	}
	// What never became ready of a release that failed is not worth waiting for.
	newer.Wanted = min(newer.Wanted, newer.Ready)
	newTarget, oldTarget := r.limits.Strategy.Step(r.want, newer, old)
	p.SetTarget(r.to, newTarget)
	r.setOld(p, oldTarget)
	if newTarget == 0 && r.old(p).Available >= min(r.want, r.before) {
		r.setOld(p, r.want)
		r.phase = Undone
	}
}

// oldFailures sums up theirs, with the one that was started last. A leftover
// counts like the first: a worker that is missing of it is waited for as well.
func (r *Rollout) oldFailures(p *pool.Pool) pool.Failures {
	var sum pool.Failures
	for _, g := range r.from {
		f := p.Failures(g)
		sum.Starts += f.Starts
		sum.Deaths += f.Deaths
		if f.Last.ID > sum.Last.ID {
			sum.Last = f.Last
		}
	}
	return sum
}
