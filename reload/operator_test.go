package reload_test

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"fugue/pool"
	"fugue/pool/pooltest"
	"fugue/reload"
)

// operator does with a pool and rollouts what a master does: one rollout at
// a time, the next when it is over. The rules are in rules_test.go.
type operator struct {
	*pooltest.World
	limits  reload.Limits
	want    int
	serving []pool.Generation // the first is the one to go back to
	roll    *reload.Rollout
	to      *pooltest.Release
	waiting []*pooltest.Release
	file    int          // workers wanted by the next release; negative: as many as now
	phase   reload.Phase // of the last rollout
	why     error
	stuck   error
	scaling bool // fewer or more are just being asked for
	aloud   bool // a story is told: verdicts are part of it, and so are accidents

	seen  seen
	rules rules
}

// seen is what was last said of a rollout.
type seen struct {
	phase    reload.Phase
	old, new int
}

var errAsked = errors.New("cancelled")

func operate(w *pooltest.World) *operator {
	o := &operator{World: w, file: -1}
	w.Steer = o.steer
	w.Rollout = func() bool { return o.roll != nil }
	w.SteerWake = func() time.Time {
		if o.roll == nil {
			return time.Time{}
		}
		return o.roll.Wake()
	}
	w.OnStop = o.checkStops
	w.OnSpawn = o.checkSpawn
	return o
}

// start is the first start of a pool.
func (o *operator) start(g pool.Generation, n int) {
	o.serving, o.want = []pool.Generation{g}, n
	o.rules.allowed = n
	o.Pool.SetTarget(g, n)
	o.Settle()
}

func (o *operator) reload(r *pooltest.Release) {
	o.waiting = append(o.waiting, r)
	o.Settle()
}

func (o *operator) cancel() {
	if o.roll != nil && o.roll.Cancel(errAsked) {
		o.rules.faults++
	}
	o.Settle()
}

// scale asks for n workers.
func (o *operator) scale(n int) {
	o.want, o.scaling = n, true
	defer func() { o.scaling = false }()
	o.scaled()
	if o.roll != nil {
		o.roll.SetWant(n)
	} else {
		reload.Share(o.Pool, o.serving, n)
		o.serve(o.serving)
	}
	o.Settle()
}

// pause stops all workers and keeps the wanted number.
func (o *operator) pause() {
	reload.Share(o.Pool, o.serving, 0)
	o.scaled()
	o.rules.paused = true
	o.Settle()
}

func (o *operator) steer() bool {
	if o.roll == nil {
		if len(o.waiting) == 0 {
			return false
		}
		o.to, o.waiting = o.waiting[0], o.waiting[1:]
		if o.file >= 0 {
			o.want, o.file = o.file, -1
		}
		o.begins()
		o.roll = reload.New(o.Now, o.limits, o.serving, o.to.Number, o.want, o.Pool)
		o.seen, o.phase = seen{}, reload.Canary
	}
	o.watch()
	before := o.phase
	o.phase = o.roll.Next(o.Now, o.Pool)
	o.checkTime(before)
	now := seen{o.phase, o.wanted(o.serving), o.Pool.Target(o.to.Number)}
	changed := now != o.seen
	if changed {
		o.NoteTargets(o.phase.String(), now.old, now.new)
	}
	o.seen = now
	if o.phase.Over() {
		o.over()
		return true
	}
	return changed
}

// verdict puts into words how a rollout ended.
func (o *operator) verdict() {
	switch {
	case o.stuck != nil:
		o.Note(fmt.Sprintf("verdict: %v; then %v", o.why, o.stuck))
	case o.why != nil:
		o.Note(fmt.Sprintf("verdict: %v", o.why))
	}
}

// serve keeps those that have something to serve with, and the first.
func (o *operator) serve(all []pool.Generation) {
	o.serving = nil
	for i, g := range all {
		if i == 0 || o.Pool.Target(g) > 0 {
			o.serving = append(o.serving, g)
		}
	}
	// The one that most are of is the one to go back to.
	slices.SortStableFunc(o.serving, func(a, b pool.Generation) int { return o.Pool.Target(b) - o.Pool.Target(a) })
}

func (o *operator) wanted(all []pool.Generation) (n int) {
	for _, g := range all {
		n += o.Pool.Target(g)
	}
	return n
}

func (o *operator) over() {
	o.why, o.stuck = o.roll.Why(), o.roll.WhyStuck()
	o.checkOver()
	if o.aloud {
		o.verdict()
	}
	switch o.phase {
	case reload.Done:
		o.serving = []pool.Generation{o.to.Number}
	case reload.Undone:
		o.serve(o.serving)
	case reload.Stuck:
		o.serve(append(o.serving, o.to.Number))
	}
	o.roll = nil
}

// tidy forgets the generations that nobody needs, as a master does.
func (o *operator) tidy() {
	for i := 0; i < len(o.Releases); i++ {
		r := o.Releases[i]
		if o.needed(r) {
			continue
		}
		if !o.Pool.Drop(r.Number) {
			o.Break("leak", "generation %d cannot be dropped", r.Number)
		}
		o.Releases = append(o.Releases[:i], o.Releases[i+1:]...)
		i--
	}
}

func (o *operator) needed(r *pooltest.Release) bool {
	for _, p := range o.Procs {
		if p.Release == r {
			return true
		}
	}
	for _, g := range o.serving {
		if g == r.Number {
			return true
		}
	}
	for _, w := range o.waiting {
		if w == r {
			return true
		}
	}
	return o.roll != nil && o.to == r
}
