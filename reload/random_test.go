package reload_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"fugue/pool"
	"fugue/pool/pooltest"
	"fugue/reload"
)

// TestRandom lets anything happen to a pool that is reloaded: good releases
// and broken ones, crashes, hangs, scales, pauses, cancels, reloads that take
// the place of others, a machine that sleeps, masters that are replaced. The
// promises are checked at
// every action; when nothing goes wrong any more, every rollout has to end,
// and the pool to have exactly what is wanted.
func TestRandom(t *testing.T) { pooltest.Random(t, 200_000, random) }

var (
	drawAmount  = rapid.SampledFrom([]reload.Amount{{N: 1}, {N: 0}, {N: 2}, {N: 6}, {N: 25, Percent: true}, {N: 100, Percent: true}, {N: 0, Percent: true}})
	drawNone    = rapid.SampledFrom([]reload.Amount{{N: 0}, {N: 1}, {N: 3}, {N: 25, Percent: true}, {N: 50, Percent: true}})
	drawCanary  = rapid.SampledFrom([]int{1, 0, 2, 4})
	drawBake    = rapid.SampledFrom([]time.Duration{0, 2 * time.Second})
	drawLenient = rapid.SampledFrom([]int{0, 0, 0, 1, 2})
	drawTimeout = rapid.SampledFrom([]time.Duration{5 * time.Minute, 0, 3 * time.Second})
)

func random(t *rapid.T) {
	o := operate(pooltest.DrawWorld(t))
	o.rules.healed = map[*pooltest.Release]bool{}
	o.limits = reload.Limits{
		Strategy: reload.Rolling{MaxSurge: drawAmount.Draw(t, "max surge"), MaxUnavailable: drawNone.Draw(t, "max unavailable")},
		Canary:   drawCanary.Draw(t, "canary"),
		Bake:     drawBake.Draw(t, "bake"),
		Tolerate: drawLenient.Draw(t, "tolerate"),
		Timeout:  drawTimeout.Draw(t, "timeout"),
	}
	next := pool.Generation(1)
	draw := func(kind int) *pooltest.Release {
		l := pooltest.DrawLimits(t, true)
		m := pooltest.DrawGood(t)
		switch {
		case kind > 3:
			m = pooltest.DrawBroken(t, l)
		case kind == 3 && o.limits.Timeout > 0:
			m.Life = m.Ready + l.MinUptime + pooltest.DrawSpan(t) + 100*time.Millisecond
		}
		next++
		return o.AddRelease(next-1, l, m)
	}
	o.start(draw(0).Number, pooltest.DrawNumber(t, "workers"))
	o.Run(pooltest.DrawSpan(t))
	for range 4 * pooltest.DrawNumber(t, "length") {
		switch drawOp.Draw(t, "what") {
		case 0, 1:
			o.Run(pooltest.DrawSpan(t))
		case 2:
			if pooltest.DrawNumber(t, "another number?") == 6 {
				o.file = pooltest.DrawNumber(t, "workers in the file")
			}
			o.reload(draw(pooltest.DrawNumber(t, "kind")))
		case 3:
			o.scale(pooltest.DrawNumber(t, "workers"))
		case 4:
			o.cancel()
		case 5:
			o.accident()
			o.Trouble(t)
		case 6:
			o.accident()
			o.Jump(pooltest.DrawJump(t))
		case 7: // the old release is no more what it was: deployed in place
			r := o.Release(o.serving[0])
			r.Manner = pooltest.DrawBroken(t, r.Limits)
		case 8: // reload --now
			o.cancel()
			o.reload(draw(pooltest.DrawNumber(t, "kind")))
		case 9:
			if o.roll == nil && len(o.waiting) == 0 {
				o.pause()
			}
		case 10: // handover: nobody notices
			o.succeed()
		case 11: // takeover: what is under way is turned back, while there is a way
			o.succeed()
			if o.roll != nil && !o.roll.Left(o.Pool) {
				o.cancel()
			}
		default:
			o.Step(o.Now.Add(time.Minute))
		}
		o.tidy()
	}
	o.finish(t)
}

var drawOp = rapid.IntRange(0, 15)

// succeed puts another master in the place of the one that is.
func (o *operator) succeed() {
	o.Pool = pool.Restore(o.Pool.Snapshot())
	if o.roll != nil {
		o.roll = reload.Restore(o.roll.Snapshot(), o.limits)
	}
}

// finish: nothing goes wrong any more, but for releases that are broken.
func (o *operator) finish(t *rapid.T) {
	heal := pooltest.DrawNumber(t, "heal") < 4
	if heal {
		for _, r := range o.Releases {
			if !o.works(r) {
				o.rules.healed[r] = true
				r.Manner = pooltest.Manner{Ready: 100 * time.Millisecond, Drain: 50 * time.Millisecond}
			}
		}
	}
	o.Calm()
	for end := o.Now.Add(time.Duration(1+len(o.waiting)) * 15 * time.Minute); o.roll != nil; {
		o.Step(o.Now.Add(time.Minute))
		if o.Now.After(end) {
			o.Break("live", "a rollout does not end: %v", o.roll.Phase())
		}
	}
	if !heal {
		return
	}
	for range 2000 {
		if o.Idle() {
			break
		}
		o.Step(o.Now.Add(time.Minute))
	}
	if !o.Idle() {
		o.Break("live", "two thousand things have happened and it is not at rest")
	}
	sum := 0
	for _, r := range o.Releases {
		c := o.Pool.Count(r.Number)
		sum += c.Wanted
		if c.Available != c.Wanted || c.Alive() != c.Wanted || c.Stopping > 0 {
			o.Break("live", "generation %d at rest: %+v", r.Number, c)
		}
	}
	o.tidy()
	if len(o.Releases) != len(o.serving) {
		o.Break("leak", "%d releases are known, %d serve", len(o.Releases), len(o.serving))
	}
	if sum < o.want && !o.rules.paused || sum > o.want && o.phase != reload.Stuck {
		o.Break("live", "%d are wanted in all, asked for were %d", sum, o.want)
	}
}
