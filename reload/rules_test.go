package reload_test

import (
	"errors"
	"slices"
	"time"

	"fugue/pool/pooltest"
	"fugue/reload"
)

// rules is what the promises of a rollout are checked with: the world's own
// book, kept without looking into the rollout.
type rules struct {
	allowed   int       // (c) workers that may stay at once, without surge and canaries
	provenAt  time.Time // (a) since when the canaries have been available
	proven    bool      // and that for long enough, once
	dueAt     time.Time // (h) when the present way may have taken too long; zero: never
	touched   bool      // an old worker was stopped for this rollout
	oldReady  int       // old workers that were ready when the first was stopped
	faults    int       // things that a good release may fail by
	accidents int       // of those, what even a broken release may look good by
	stuck     bool
	paused    bool
	healed    map[*pooltest.Release]bool // broken at first, but no more
}

// bounds resolves surge and unavailable for n workers, in this file's words.
func (o *operator) bounds(n int) (surge, unavailable int) {
	share := func(a reload.Amount, up int) int {
		if a.Percent {
			return (n*a.N + up) / 100
		}
		return a.N
	}
	surge, unavailable = share(o.limits.Strategy.MaxSurge, 99), share(o.limits.Strategy.MaxUnavailable, 0)
	if surge == 0 && unavailable == 0 {
		unavailable = 1
	}
	return surge, unavailable
}

func (o *operator) begins() {
	o.rules = rules{allowed: max(o.want, o.wanted(o.serving)), healed: o.rules.healed}
	o.begun()
	if o.limits.Timeout > 0 && o.limits.Timeout < time.Minute {
		o.rules.faults = 1
	}
}

func (o *operator) accident() {
	o.rules.faults++
	o.rules.accidents++
}

func (o *operator) scaled() {
	o.rules.stuck, o.rules.paused = false, false
	o.rules.oldReady = min(o.rules.oldReady, o.want) // what was asked to go need not come back
	o.rules.allowed = max(o.rules.allowed, o.want)
	if o.roll == nil {
		o.rules.allowed = o.want
	} else if o.limits.Timeout > 0 {
		o.rules.faults++
	}
}

// begun: a way, there or back, has all its time before it.
func (o *operator) begun() {
	if o.limits.Timeout > 0 {
		o.rules.dueAt = o.Now.Add(o.limits.Timeout)
	}
}

// checkTime is told after the rollout has looked: no way is given up before it
// has had its time, (h).
func (o *operator) checkTime(before reload.Phase) {
	turned, stuck := before < reload.RollingBack && o.phase >= reload.RollingBack, o.phase == reload.Stuck
	why := o.roll.WhyStuck()
	if turned {
		why = o.roll.Why()
	}
	if (turned || stuck) && errors.Is(why, reload.ErrTimeout) && o.Now.Before(o.rules.dueAt) {
		o.Break("time", "%v, at %v, and it has time until %v", why, o.Now, o.rules.dueAt)
	}
	if turned {
		o.begun()
	}
}

// watch is told before the rollout looks.
func (o *operator) watch() {
	if d := o.limits.Timeout; d > 0 && o.Now.Sub(o.rules.dueAt) > d/8 {
		o.begun() // the look is late, and no word on how long it took
	}
	n := 0
	for _, p := range o.Procs {
		if p.Release == o.to && p.Available && !p.Stopping {
			n++
		}
	}
	need := min(o.limits.Canary, o.want)
	if surge, unavailable := o.bounds(o.want); surge == 0 {
		need = min(need, unavailable)
	}
	if n < need {
		o.rules.provenAt = time.Time{}
		return
	}
	if o.rules.provenAt.IsZero() {
		o.rules.provenAt = o.Now
	}
	if need == 0 || !o.Now.Before(o.rules.provenAt.Add(o.limits.Bake)) {
		o.rules.proven = true
	}
}

// count is who is meant to stay, who of these is ready, and ready and old. Who
// hangs serves nobody; who is being recycled serves, and comes on top.
func (o *operator) count() (staying, ready, oldReady int) {
	for _, p := range o.Procs {
		if p.Stopping || p.Leaving.Hung() {
			continue
		}
		if !p.Leaving.Recycled() {
			staying++
		}
		if p.Ready {
			ready++
		}
		if p.Ready && p.Release != o.to {
			oldReady++
		}
	}
	return staying, ready, oldReady
}

// checkStops: (a), (b) and (g).
func (o *operator) checkStops(stopping []*pooltest.Proc) {
	stopping = slices.DeleteFunc(slices.Clone(stopping), func(p *pooltest.Proc) bool {
		// Who hangs serves nobody; and what was to come in the place of one that
		// may stay now is nothing that was there before.
		return p.Leaving.Hung() || p.Instead && p.Release == o.Release(o.serving[0])
	})
	_, ready, oldReady := o.count()
	surge, unavailable := o.bounds(o.want)
	if o.rules.paused {
		unavailable = o.want
	}
	for _, p := range stopping {
		if p.Release != o.to && p.Ready && !o.rules.touched && o.phase < reload.RollingBack {
			o.rules.touched, o.rules.oldReady = true, oldReady
			for _, q := range stopping {
				if q.Release != o.to && q.Ready {
					o.rules.oldReady++
				}
			}
		}
	}
	for _, p := range stopping {
		old := o.roll != nil && p.Release != o.to
		switch {
		case p.Ready && !old && o.scaling && o.phase < reload.Advancing:
			// Fewer were asked for, and so fewer canaries.
		case p.Ready && ready < o.want-unavailable:
			o.Break("ready", "#%d is ready and is stopped, only %d of %d stay ready, %d may be unavailable", p.ID, ready, o.want, unavailable)
		case p.Ready && o.rules.stuck && !p.Leaving.Recycled():
			o.Break("stuck", "#%d is ready and is stopped, after turning has stopped", p.ID)
		case old && surge > 0 && !o.rules.proven && (o.phase < reload.RollingBack || o.wanted(o.serving) < o.want):
			o.Break("canary", "#%d of the old generation is stopped, and the new one has not proved itself", p.ID)
		}
	}
}

// checkSpawn: (c).
func (o *operator) checkSpawn(p *pooltest.Proc) {
	staying, _, _ := o.count()
	most := o.rules.allowed
	if o.to != nil {
		surge, _ := o.bounds(o.rules.allowed)
		most += max(surge, o.limits.Canary)
	}
	if staying > most {
		o.Break("surge", "#%d is one too many: %d, allowed are %d", p.ID, staying, most)
	}
}

// checkOver: what a verdict promises.
func (o *operator) checkOver() {
	to, old := o.Pool.Count(o.to.Number), o.wanted(o.serving)
	good := o.works(o.to) && !o.rules.healed[o.to]
	switch o.phase {
	case reload.Done:
		switch {
		case o.why != nil || o.stuck != nil:
			o.Break("verdict", "done, but: %v, %v", o.why, o.stuck)
		case to.Wanted != o.want || old != 0:
			o.Break("verdict", "done with %d old and %d new wanted, of %d", old, to.Wanted, o.want)
		case to.Available < o.want:
			o.Break("verdict", "done with %d of %d available", to.Available, o.want)
		case o.hopeless(o.to) && o.want > 0 && o.rules.accidents == 0 && !o.rules.healed[o.to]:
			o.Break("broken", "a release is done that cannot serve")
		}
	case reload.Undone:
		available := 0
		for _, p := range o.Procs {
			if p.Release != o.to && p.Available && !p.Stopping {
				available++
			}
		}
		switch {
		case o.why == nil || o.stuck != nil:
			o.Break("verdict", "undone, because: %v, %v", o.why, o.stuck)
		case to.Wanted != 0 || old != o.want:
			o.Break("verdict", "undone with %d old and %d new wanted, of %d", old, to.Wanted, o.want)
		case o.rules.touched && available < min(o.want, o.rules.oldReady):
			o.Break("undone", "%d old ones are available, %d were ready before", available, o.rules.oldReady)
		}
	case reload.Stuck:
		if o.why == nil || o.stuck == nil {
			o.Break("verdict", "stuck, because: %v, %v", o.why, o.stuck)
		}
		if old+to.Wanted < o.want {
			o.Break("verdict", "stuck with %d old and %d new wanted, of %d", old, to.Wanted, o.want)
		}
		o.rules.stuck = true
	}
	if o.phase != reload.Done && good && o.rules.faults == 0 && !o.aloud {
		o.Break("good", "a good release is %v, because: %v", o.phase, o.why)
	}
}

// hopeless reports that no worker of a release ever becomes available.
func (o *operator) hopeless(r *pooltest.Release) bool {
	m := r.Manner
	return m.Refuse || m.Ready < 0 || m.Life > 0 && m.Life < m.Ready+r.Limits.MinUptime
}

// works reports that workers of a release become available, and stay.
func (o *operator) works(r *pooltest.Release) bool {
	m := r.Manner
	return !m.Refuse && m.Ready >= 0 && m.Life == 0
}
