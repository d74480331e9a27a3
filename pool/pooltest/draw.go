package pooltest

import (
	"time"

	"pgregory.net/rapid"

	"fugue/pool"
)

// Draws of random worlds. Small numbers come first: rapid shrinks to them.
var (
	drawFew    = rapid.IntRange(0, 6)
	drawStart  = rapid.SampledFrom([]time.Duration{10 * time.Second, 2 * time.Second, 0})
	drawUptime = rapid.SampledFrom([]time.Duration{time.Second, 0, 3 * time.Second})
	drawDelay  = rapid.SampledFrom([]time.Duration{0, 0, 500 * time.Millisecond})
	drawStop   = rapid.SampledFrom([]time.Duration{5 * time.Second, time.Second, 0})
	drawBack   = rapid.SampledFrom([]time.Duration{100 * time.Millisecond, time.Second, 0})
	drawMax    = rapid.SampledFrom([]time.Duration{time.Second, 10 * time.Second})
	drawReady  = rapid.SampledFrom([]time.Duration{100 * time.Millisecond, 0, 700 * time.Millisecond, time.Second})
	drawDrain  = rapid.SampledFrom([]time.Duration{50 * time.Millisecond, 0, 3 * time.Second})
	drawSpan   = rapid.SampledFrom([]time.Duration{100 * time.Millisecond, time.Millisecond, 0, time.Second, 5 * time.Second, 30 * time.Second})
	drawJump   = rapid.SampledFrom([]time.Duration{time.Second, 10 * time.Second, time.Hour})
	drawBool   = rapid.Bool()
	drawWatch  = rapid.SampledFrom([]time.Duration{0, 10 * time.Second, 800 * time.Millisecond})
	drawAge    = rapid.SampledFrom([]time.Duration{0, 0, 20 * time.Second, 10 * time.Minute})
)

// DrawNumber draws from 0 to 6.
func DrawNumber(t *rapid.T, label string) int { return drawFew.Draw(t, label) }

// DrawSpan draws a time to let pass; DrawJump one to sleep through.
func DrawSpan(t *rapid.T) time.Duration { return drawSpan.Draw(t, "span") }

// DrawJump draws a time to sleep through.
func DrawJump(t *rapid.T) time.Duration { return drawJump.Draw(t, "jump") }

// DrawWorld draws a world without releases.
func DrawWorld(t *rapid.T) *World {
	w := New(t)
	w.Batch = drawBool.Draw(t, "batch")
	w.SteerFirst = drawBool.Draw(t, "steer first")
	if n := drawFew.Draw(t, "max draining"); n < 5 {
		w.SetMaxDraining(n)
	}
	return w
}

// DrawLimits draws the limits of a release. Bounded: a start timeout and a
// stop timeout, so that all that hangs comes to an end.
func DrawLimits(t *rapid.T, bounded bool) pool.Limits {
	l := pool.Limits{
		StartTimeout: drawStart.Draw(t, "start timeout"),
		MinUptime:    drawUptime.Draw(t, "min uptime"),
		StopDelay:    drawDelay.Draw(t, "stop delay"),
		StopTimeout:  drawStop.Draw(t, "stop timeout"),
		Backoff:      drawBack.Draw(t, "backoff"),
		MaxBackoff:   drawMax.Draw(t, "max backoff"),
		Watchdog:     drawWatch.Draw(t, "watchdog"),
		AbortTimeout: drawStop.Draw(t, "abort timeout"),
		ReplaceFirst: drawBool.Draw(t, "replace first"),
		MaxAge:       drawAge.Draw(t, "max age"),
	}
	if bounded && l.StartTimeout == 0 {
		l.StartTimeout = 10 * time.Second
	}
	if bounded && l.StopTimeout == 0 {
		l.StopTimeout = 5 * time.Second
	}
	if bounded && l.AbortTimeout == 0 {
		l.AbortTimeout = time.Second
	}
	return l
}

// DrawGood draws the manner of a release that works.
func DrawGood(t *rapid.T) Manner {
	return Manner{Ready: drawReady.Draw(t, "ready"), Drain: drawDrain.Draw(t, "drain")}
}

// DrawBroken draws the manner of a release none of whose workers becomes
// available: they exit at start, hang, cannot be started, or exit in the
// time that they would have to stay up.
func DrawBroken(t *rapid.T, l pool.Limits) Manner {
	m := DrawGood(t)
	switch drawFew.Draw(t, "broken") {
	case 0:
		m.Ready, m.Life = -1, 30*time.Millisecond
	case 1:
		m.Ready = -1
	case 2:
		m.Refuse = true
	case 3:
		m.Ready, m.Life, m.Clean = -1, 10*time.Millisecond, true
	case 4:
		m.Ready, m.Drain = -1, -1
	default:
		if l.MinUptime == 0 {
			m.Ready = -1
		}
		m.Life = max(m.Ready, 0) + max(l.MinUptime, time.Second)/2
	}
	return m
}

// DrawProc draws one of the living; nil if there is none.
func (w *World) DrawProc(t *rapid.T) *Proc {
	if len(w.Procs) == 0 {
		return nil
	}
	return w.Procs[drawIndex.Draw(t, "worker")%len(w.Procs)]
}

var drawIndex = rapid.IntRange(0, 31)

// Trouble is one thing that goes wrong with one worker, or is said by it.
func (w *World) Trouble(t *rapid.T) {
	p := w.DrawProc(t)
	if p == nil {
		return
	}
	if drawFew.Draw(t, "is it the watchdog?") > 3 {
		w.troubleWatched(t, p)
		w.Settle()
		return
	}
	switch drawFew.Draw(t, "trouble") {
	case 0, 1:
		w.Exit(p, false)
	case 2:
		w.Exit(p, true)
	case 3:
		w.SayStopping(p)
	case 4:
		w.Extend(p, DrawSpan(t))
	case 5: // it will hang
		if !p.Killed {
			p.readyAt, p.exitAt = time.Time{}, time.Time{}
		}
	default: // READY=1 early, late or once more
		p.readyAt = time.Time{}
		w.SayReady(p)
	}
	w.Settle()
}

// troubleWatched is what concerns the watchdog of a worker, or its age.
func (w *World) troubleWatched(t *rapid.T, p *Proc) {
	switch drawFew.Draw(t, "watchdog") {
	case 0, 1:
		p.Mute, p.pingAt = true, time.Time{}
	case 2:
		w.SayAlive(p)
	case 3:
		w.SayWatch(p, drawWatch.Draw(t, "interval"))
	case 4:
		w.SayHangs(p, pool.Triggered)
	case 5:
		w.Recycle(p)
	default: // two leave at a time, for different reasons
		w.Recycle(p)
		w.Settle()
		w.SayHangs(w.DrawProc(t), pool.Triggered)
	}
}
