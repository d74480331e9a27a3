package pool_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"fugue/pool"
	"fugue/pool/pooltest"
)

// TestRandom lets anything happen to a pool of three generations. The rules
// of pooltest are checked at every action; in the end, when nothing goes
// wrong any more, the pool has to have exactly what is wanted, and to forget
// what is not.
func TestRandom(t *testing.T) { pooltest.Random(t, 60_000, random) }

func random(t *rapid.T) {
	w := pooltest.DrawWorld(t)
	for g := range 3 {
		l := pooltest.DrawLimits(t, true)
		m := pooltest.DrawGood(t)
		if pooltest.DrawNumber(t, "is it broken?") > 4 {
			m = pooltest.DrawBroken(t, l)
		}
		w.AddRelease(pool.Generation(g+1), l, m)
	}
	for range 3 * pooltest.DrawNumber(t, "length") {
		if pooltest.DrawNumber(t, "another master?") == 6 {
			w.Pool = pool.Restore(w.Pool.Snapshot())
		}
		switch pooltest.DrawNumber(t, "what") {
		case 0, 1:
			g := pool.Generation(1 + pooltest.DrawNumber(t, "generation")%3)
			w.Pool.SetTarget(g, pooltest.DrawNumber(t, "target"))
			w.Settle()
		case 2, 3:
			w.Trouble(t)
		case 4:
			w.Jump(pooltest.DrawJump(t))
		default:
			w.Run(pooltest.DrawSpan(t))
		}
	}
	finish(t, w)
}

func finish(t *rapid.T, w *pooltest.World) {
	if pooltest.DrawNumber(t, "end") == 6 {
		w.Abandon()
		w.Jump(pooltest.DrawSpan(t)) // nobody is asked to end at once and given time
	}
	for _, r := range w.Releases { // what is left of the broken ones starts well from now on
		r.Manner = pooltest.Manner{Ready: 100 * time.Millisecond, Drain: 50 * time.Millisecond}
	}
	w.Calm()
	for range 3000 {
		if w.Idle() {
			break
		}
		w.Step(w.Now.Add(time.Minute))
	}
	if !w.Idle() {
		w.Break("live", "three thousand things have happened and it is not at rest")
	}
	for _, r := range w.Releases {
		g := r.Number
		if c := w.Pool.Count(g); c.Available != c.Wanted || c.Alive() != c.Wanted || c.Stopping > 0 {
			w.Break("live", "generation %d at rest: %+v", g, c)
		}
		if dropped := w.Pool.Drop(g); dropped != (w.Pool.Target(g) == 0) {
			w.Break("leak", "generation %d of %d wanted: dropped %v", g, w.Pool.Target(g), dropped)
		}
	}
}
