package pool

import (
	"slices"
	"time"
)

// Snapshot is all that a Pool knows, as plain data: what Restore makes of it
// goes on as the original would have. Its times are those of the clock that
// was passed in; who carries it to another process translates them.
type Snapshot struct {
	MaxDraining int
	Rollout     bool
	LastID      ID
	Generations []GenerationRow // by number
	Workers     []WorkerRow     // in order of birth
}

// GenerationRow is what a pool remembers of one generation.
type GenerationRow struct {
	Generation Generation
	Limits     Limits
	Target     int
	Failures   Failures
	Streak     int       // rounds of starts that failed in a row
	FailedAt   time.Time // when the last of them was booked
}

// WorkerRow is the whole row of one worker.
type WorkerRow struct {
	ID          ID
	Slot        int
	Generation  Generation
	PID         int
	State       State
	Why         Why
	Born, Since time.Time

	ReadyBy, SignalAt, KillAt time.Time // zero: never
	Signalled, Killed, Judged bool

	Interval     time.Duration // of the watchdog; 0: it is not watched
	AliveBy      time.Time     // while it is watched
	Leaving, Due Why
}

// Snapshot copies the table.
func (p *Pool) Snapshot() Snapshot {
	s := p.Head()
	s.Workers = make([]WorkerRow, 0, len(p.workers))
	for row := range p.Rows {
		s.Workers = append(s.Workers, row)
	}
	return s
}

// Head is a Snapshot without the workers.
func (p *Pool) Head() Snapshot {
	s := Snapshot{MaxDraining: p.maxDraining, Rollout: p.rollout, LastID: p.lastID}
	for g, gen := range p.generations {
		s.Generations = append(s.Generations, GenerationRow{
			Generation: g, Limits: gen.limits, Target: gen.target, Failures: gen.failures,
			Streak: gen.backoff.streak, FailedAt: gen.backoff.since,
		})
	}
	slices.SortFunc(s.Generations, func(a, b GenerationRow) int { return int(a.Generation - b.Generation) })
	return s
}

// Rows are those of a Snapshot, one after the other: to range over.
func (p *Pool) Rows(yield func(WorkerRow) bool) {
	for _, w := range p.workers {
		if !yield(w.row()) {
			return
		}
	}
}

func (w *Worker) row() WorkerRow {
	return WorkerRow{
		ID: w.ID, Slot: w.Slot, Generation: w.Generation, PID: w.PID, State: w.State, Why: w.Why,
		Born: w.Born, Since: w.Since, ReadyBy: w.readyBy, SignalAt: w.signalAt, KillAt: w.killAt,
		Signalled: w.signalled, Killed: w.killed, Judged: w.judged,
		Interval: w.interval, AliveBy: w.aliveBy, Leaving: w.Leaving, Due: w.due,
	}
}

// Restore makes the Pool of a Snapshot.
func Restore(s Snapshot) *Pool {
	p := New()
	p.maxDraining, p.rollout, p.lastID = s.MaxDraining, s.Rollout, s.LastID
	for _, r := range s.Generations {
		p.generations[r.Generation] = &generation{
			limits: r.Limits, target: r.Target, failures: r.Failures,
			backoff: backoff{streak: r.Streak, since: r.FailedAt},
		}
	}
	for _, r := range s.Workers {
		p.workers = append(p.workers, &Worker{
			ID: r.ID, Slot: r.Slot, Generation: r.Generation, PID: r.PID, State: r.State, Why: r.Why,
			Born: r.Born, Since: r.Since, readyBy: r.ReadyBy, signalAt: r.SignalAt, killAt: r.KillAt,
			signalled: r.Signalled, killed: r.Killed, judged: r.Judged,
			interval: r.Interval, aliveBy: r.AliveBy, Leaving: r.Leaving, due: r.Due,
		})
		p.lastID = max(p.lastID, r.ID)
	}
	slices.SortFunc(p.workers, func(a, b *Worker) int { return int(a.ID - b.ID) })
	return p
}
