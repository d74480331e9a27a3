package pooltest

import (
	"time"

	"fugue/pool"
)

// excuse is the world's own idea of who has had no time: by a look that comes
// late, nobody who was given less than eight times as much; a tenth of a second is
// not late.
func (w *World) excuse() {
	var late time.Duration
	for _, p := range w.Procs {
		if !p.Stopping && !p.Ready && !p.readyBy.IsZero() {
			late = max(late, w.Now.Sub(p.readyBy))
		}
		if p.inTime() {
			late = max(late, w.Now.Sub(p.killBy))
		}
	}
	more := func(by *time.Time, d time.Duration) {
		if until := w.Now.Add(d); isLate(late, d) && until.After(*by) {
			*by = until
		}
	}
	for _, p := range w.Procs {
		if !p.Stopping && !p.Ready && !p.readyBy.IsZero() {
			more(&p.readyBy, p.Release.Limits.StartTimeout)
		}
		if p.inTime() {
			more(&p.killBy, p.endTimeout())
		}
	}
}

// isLate is the world's own idea of a look that says nothing.
func isLate(by, limit time.Duration) bool { return by > limit/8 && by > 100*time.Millisecond }

// inTime reports that the process has its signal and time to end.
func (p *Proc) inTime() bool {
	return p.Stopping && !p.Killed && !p.killBy.IsZero() && p.why != pool.Abandoned
}

// due sets when a stopping process will have been given enough time.
func (w *World) due(p *Proc) {
	if t := p.endTimeout(); t > 0 {
		p.killBy = w.Now.Add(t)
	}
}

func (p *Proc) endTimeout() time.Duration {
	if p.why.Hung() {
		return p.Release.Limits.AbortTimeout
	}
	return p.Release.Limits.StopTimeout
}
