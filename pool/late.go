package pool

import "time"

// lateLoop is the share of a time limit by which the look at its end may be
// late, and leastLate what any may be: a busy machine is that late at every look,
// and a limit not much longer would never be kept.
const (
	lateLoop  = 8
	leastLate = 100 * time.Millisecond
)

// Late reports that a look at the end of a time limit comes so late, by this
// much after it, that it says nothing about who was held to the limit: the
// master was stopped or starved, or the machine with all that runs on it stood
// still.
func Late(by, limit time.Duration) bool { return by > max(limit/lateLoop, leastLate) }

// excuse gives those that are starting or ending a whole time limit more when
// the look comes late itself. What stopped the loop may have stopped them too,
// or their word has not been read. By how much it is late is known from the
// deadline that has passed for longest: whoever has far more time than that is
// held to it as ever, lest a short limit of one prolongs a long one of another.
func (p *Pool) excuse(now time.Time) {
	var late time.Duration
	for _, w := range p.workers {
		if by, _ := w.term(p.generation(w.Generation).limits); by != nil {
			late = max(late, now.Sub(*by))
		}
	}
	for _, w := range p.workers {
		by, limit := w.term(p.generation(w.Generation).limits)
		if until := now.Add(limit); by != nil && Late(late, limit) && until.After(*by) {
			*by = until
		}
	}
}

// term is when the worker has to have become ready or to be gone, and how much
// time that limit gives; nil: whenever it likes, or at once.
func (w *Worker) term(l Limits) (by *time.Time, limit time.Duration) {
	switch {
	case w.State == Starting && !w.readyBy.IsZero():
		return &w.readyBy, l.StartTimeout
	case w.State == Stopping && !w.killed && !w.killAt.IsZero() && w.Why != Abandoned:
		return &w.killAt, w.timeToEnd(l)
	}
	return nil, 0
}
