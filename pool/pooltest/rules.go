package pooltest

import (
	"fmt"
	"time"

	"fugue/pool"
)

// Break ends the test: a rule is broken. The history comes first.
func (w *World) Break(rule, format string, args ...any) {
	w.Helper()
	for _, e := range w.History {
		w.Logf("%s", e)
	}
	w.Fatalf("broken at %v: rule %q: %s", w.Since(), rule, fmt.Sprintf(format, args...))
}

// checkSpawn: wanted, once, the lowest free slot, not before its backoff.
func (w *World) checkSpawn(a pool.Action) *Release {
	r := w.Release(a.Generation)
	if r == nil {
		w.Break("target", "#%d is of generation %d, which nobody knows", a.ID, a.Generation)
	}
	if a.ID <= w.lastID {
		w.Break("once", "#%d has been there before", a.ID)
	}
	if n := w.staying(r); n >= w.Pool.Target(r.Number) {
		w.Break("target", "#%d of generation %d has %d beside it, wanted are %d", a.ID, r.Number, n, w.Pool.Target(r.Number))
	}
	if free := w.freeSlot(); a.Slot != free {
		w.Break("slot", "#%d is put into slot %d, the lowest free one is %d", a.ID, a.Slot, free)
	}
	if wait := r.backoff(); w.Now.Before(r.since.Add(wait * 3 / 4)) {
		w.Break("backoff", "#%d of generation %d starts %v after failure %d in a row, which costs %v", a.ID, r.Number, w.Now.Sub(r.since), r.streak, wait)
	}
	return r
}

// backoff is the wait before the next start, without its jitter.
func (r *Release) backoff() time.Duration {
	if r.streak < 2 {
		return 0
	}
	const least = 10 * time.Millisecond
	wait := max(r.Limits.Backoff, least)
	for i := 2; i < r.streak && wait < time.Hour; i++ {
		wait *= 2
	}
	if r.Limits.MaxBackoff > 0 {
		wait = min(wait, max(r.Limits.MaxBackoff, least))
	}
	return wait
}

func (w *World) staying(r *Release) (n int) {
	for _, p := range w.Procs {
		if p.Release == r && !p.Stopping && p.Leaving == pool.Wanted {
			n++
		}
	}
	return n
}

func (w *World) freeSlot() int {
	slot := 1
	for i := 0; i < len(w.Procs); i++ {
		if w.Procs[i].Slot == slot {
			slot, i = slot+1, -1
		}
	}
	return slot
}

// checkCull: only what is too many, the not-ready first, then the youngest.
func (w *World) checkCull(stopping []*Proc) {
	for _, p := range stopping {
		if p.why != pool.Surplus { // checked by compare
			continue
		}
		n, target := w.staying(p.Release), w.Pool.Target(p.Release.Number)
		if n < target {
			w.Break("cull", "#%d is stopped, of generation %d only %d stay and %d are wanted", p.ID, p.Release.Number, n, target)
		}
		for _, q := range w.Procs {
			switch {
			case q.Release != p.Release || q.Stopping || q.Leaving != pool.Wanted:
			case p.Ready && !q.Ready:
				w.Break("cull", "#%d is ready and is stopped, #%d is not ready and stays", p.ID, q.ID)
			case p.Ready == q.Ready && p.ID < q.ID:
				w.Break("cull", "#%d is stopped, #%d is younger and stays", p.ID, q.ID)
			}
		}
	}
}

// checkStop: decided, once, after its delay, before any kill.
func (w *World) checkStop(a pool.Action) *Proc {
	p := w.Proc(a.ID)
	switch {
	case p == nil:
		w.Break("once", "stop of #%d, which is gone", a.ID)
	case !p.Stopping || p.Signalled || p.Killed:
		w.Break("once", "stop of #%d, decided: %v, signalled: %v, killed: %v", a.ID, p.Stopping, p.Signalled, p.Killed)
	case a.Why != p.why:
		w.Break("table", "stop of #%d because: %v; decided because: %v", a.ID, a.Why, p.why)
	case !p.hasty && w.Now.Before(p.decided.Add(p.Release.Limits.StopDelay)):
		w.Break("delay", "stop of #%d after %v", a.ID, w.Now.Sub(p.decided))
	}
	return p
}

// checkKill: once, and only one that has had its time, one too many, or all.
func (w *World) checkKill(a pool.Action) *Proc {
	p := w.Proc(a.ID)
	switch {
	case p == nil:
		w.Break("once", "kill of #%d, which is gone", a.ID)
	case !p.Stopping || p.Killed:
		w.Break("once", "kill of #%d, stopping: %v, killed: %v", a.ID, p.Stopping, p.Killed)
	case a.Why == pool.Abandoned && w.abandoned && p.why == pool.Abandoned:
	case a.Why == pool.TimedOut:
		if !p.Signalled || p.killBy.IsZero() || w.Now.Before(p.killBy) {
			w.Break("kill", "#%d has not had its time", a.ID)
		}
	case a.Why == pool.Crowded:
		w.checkCrowded(p)
	default:
		w.Break("kill", "#%d is killed: %v", a.ID, a.Why)
	}
	return p
}

// checkCrowded: there are too many, none has been draining for longer, and
// it makes room for one that was told later: what is stopped in one instant,
// by a scale or at the end of a pool, must not be killed for it.
func (w *World) checkCrowded(p *Proc) {
	n, younger := 0, false
	for _, q := range w.Procs {
		if !q.Signalled || q.Killed {
			continue
		}
		n++
		if q.decided.Before(p.decided) {
			w.Break("crowded", "#%d is killed, #%d has been draining for longer", p.ID, q.ID)
		}
		younger = younger || q.decided.After(p.decided)
	}
	if w.maxDraining == 0 || n <= w.maxDraining || !p.Signalled {
		w.Break("crowded", "#%d is killed with %d draining, allowed are %d", p.ID, n, w.maxDraining)
	}
	if !younger {
		w.Break("crowded", "#%d is killed for others that were stopped in the same instant", p.ID)
	}
}

// checkDraining: beyond the bound nobody is left who was told before others.
func (w *World) checkDraining() {
	n, older := 0, false
	var first, last time.Time
	for _, q := range w.Procs {
		if !q.Signalled || q.Killed {
			continue
		}
		if n == 0 || q.decided.Before(first) {
			first = q.decided
		}
		if n == 0 || q.decided.After(last) {
			last = q.decided
		}
		n++
	}
	older = n > 0 && first.Before(last)
	if w.maxDraining > 0 && n > w.maxDraining && older {
		w.Break("crowded", "%d are draining, allowed are %d", n, w.maxDraining)
	}
}

// checkQuiet: a quiet pool has exactly what is wanted, or waits for a
// backoff that ends; nobody is overdue; and it says when to ask again.
func (w *World) checkQuiet() {
	if !w.wake.IsZero() && !w.wake.After(w.Now) {
		w.Break("wake", "it wants to be woken %v ago", w.Now.Sub(w.wake))
	}
	if w.SteerWake != nil {
		if t := w.SteerWake(); !t.IsZero() && !t.After(w.Now) {
			w.Break("wake", "the steering wants to be woken %v ago", w.Now.Sub(t))
		}
	}
	by := func(t time.Time, p *Proc, what string) {
		if !t.After(w.Now) || w.wake.IsZero() || w.wake.After(t) {
			w.Break("wake", "#%d %s at %v, and the pool wants to be woken %v from now", p.ID, what, t.Sub(w.begun), w.wake.Sub(w.Now))
		}
	}
	for _, p := range w.Procs {
		switch {
		case !p.Stopping && !p.Ready && !p.readyBy.IsZero():
			by(p.readyBy, p, "expires")
		case p.Ready && !p.Available && !p.Stopping:
			by(p.since.Add(p.Release.Limits.MinUptime), p, "is available")
		case p.Stopping && !p.Signalled && p.why != pool.Abandoned:
			by(p.decided.Add(p.Release.Limits.StopDelay), p, "gets its signal")
		case p.Stopping && !p.Killed && !p.killBy.IsZero():
			by(p.killBy, p, "is killed")
		}
	}
	w.checkWatched(by)
	for _, r := range w.Releases {
		n, target := w.staying(r), w.Pool.Target(r.Number)
		switch late := r.since.Add(r.backoff() * 5 / 4); {
		case n > target:
			w.Break("target", "%d workers of generation %d stay, wanted are %d", n, r.Number, target)
		case n == target:
		case !w.Now.Before(late):
			w.Break("target", "%d workers of generation %d, wanted are %d, and no backoff holds the rest", n, r.Number, target)
		case w.wake.IsZero() || w.wake.After(late):
			w.Break("wake", "a backoff ends %v from now at the latest, and the pool wants to be woken %v from now", late.Sub(w.Now), w.wake.Sub(w.Now))
		}
	}
	if acts, wake := w.Pool.Next(w.Now); len(acts) > 0 || !wake.Equal(w.wake) {
		w.Break("quiet", "asked once more it wants %v, and to be woken at %v instead of %v", acts, wake.Sub(w.begun), w.wake.Sub(w.begun))
	}
}
