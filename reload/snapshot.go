package reload

import (
	"errors"
	"slices"
	"time"

	"fugue/pool"
)

// Snapshot is all that a Rollout knows beside its limits, as plain data.
type Snapshot struct {
	From     []pool.Generation
	To       pool.Generation
	Want     int
	Phase    Phase
	Deadline time.Time // zero: never
	BakedAt  time.Time
	Hold     int
	Before   int
	Base     pool.Failures
	Why      string // what turned it back; empty: nothing did
	WhyStuck string
}

// Snapshot copies the rollout.
func (r *Rollout) Snapshot() Snapshot {
	text := func(err error) string {
		if err == nil {
			return ""
		}
		return err.Error()
	}
	return Snapshot{
		From: slices.Clone(r.from), To: r.to, Want: r.want, Phase: r.phase, Deadline: r.deadline,
		BakedAt: r.bakedAt, Hold: r.hold, Before: r.before, Base: r.base,
		Why: text(r.why), WhyStuck: text(r.stuck),
	}
}

// Restore makes the Rollout of a Snapshot. What its errors were is lost, their
// words are kept.
func Restore(s Snapshot, l Limits) *Rollout {
	r := &Rollout{
		limits: l, from: slices.Clone(s.From), to: s.To, want: s.Want, phase: s.Phase, deadline: s.Deadline,
		bakedAt: s.BakedAt, hold: s.Hold, before: s.Before, base: s.Base,
	}
	if s.Why != "" {
		r.why = errors.New(s.Why)
	}
	if s.WhyStuck != "" {
		r.stuck = errors.New(s.WhyStuck)
	}
	return r
}

// Left reports that every worker of the generations being left has been told
// to stop: there is nothing to go back to any more.
func (r *Rollout) Left(p *pool.Pool) bool {
	return r.old(p).Alive() == 0 && p.Count(r.to).Ready > 0
}
