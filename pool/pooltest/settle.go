package pooltest

import (
	"slices"
	"time"

	"fugue/pool"
)

// Settle asks the pool, and who steers it, until both are quiet, does what
// they want, and checks every action.
func (w *World) Settle() {
	if w.SteerFirst && w.Steer != nil {
		w.Steer()
	}
	for range 100 {
		busy := w.next1()
		if w.listen() {
			busy = true
		}
		if w.Steer != nil && w.Steer() {
			busy = true
		}
		if !busy {
			w.checkQuiet()
			return
		}
	}
	w.Break("quiet", "a hundred rounds without time passing, and still not quiet")
}

// next1 is one question to the pool.
func (w *World) next1() bool {
	for _, p := range w.Procs {
		w.promote(p)
	}
	w.excuse()
	w.expire()
	w.watch()
	acts, wake := w.Pool.Next(w.Now)
	w.wake = wake
	stopping, left := w.compare()
	if len(stopping) > 0 {
		w.checkCull(stopping)
		if w.OnStop != nil {
			w.OnStop(stopping)
		}
	}
	for _, row := range left { // the turn of the next comes when all else is done
		w.checkLeaving(w.Proc(row.ID), row.Leaving)
	}
	for _, a := range acts {
		w.do(a)
	}
	w.checkDraining()
	w.refuse()
	return len(acts) > 0
}

// quiet looks whether time alone changes what nobody asked to be woken for.
func (w *World) quiet() {
	before := len(w.History)
	w.Settle()
	if len(w.History) > before {
		w.Break("wake", "something happened by time alone, and nobody had asked to be woken for it")
	}
}

// promote is the world's own idea of who is available.
func (w *World) promote(p *Proc) {
	if due := p.since.Add(p.Release.Limits.MinUptime); p.Ready && !p.Available && !p.Stopping && !w.Now.Before(due) {
		p.Available = true
		p.Release.streak, p.Release.since = 0, time.Time{}
		w.note(Event{Kind: "available", Proc: p})
	}
}

// expire is the world's own idea of who is not ready in time.
func (w *World) expire() {
	for _, p := range w.Procs {
		if !p.Ready && !p.Stopping && !p.readyBy.IsZero() && !w.Now.Before(p.readyBy) {
			w.book(p)
			p.Stopping, p.hasty, p.why, p.decided = true, true, pool.NotReady, w.Now
		}
	}
}

// book counts a start that came to nothing: once a round.
func (w *World) book(p *Proc) {
	r := p.Release
	p.booked = true
	if r.streak > 0 && p.born.Before(r.since) {
		return
	}
	r.streak++
	r.since = w.Now
}

// compare holds the table against the world and returns what the pool has
// just decided to stop, and to let leave.
func (w *World) compare() (stopping []*Proc, left []pool.Worker) {
	w.spared()
	for _, p := range w.Procs {
		row, ok := w.Pool.Worker(p.ID)
		state := pool.Starting
		switch {
		case p.Stopping:
			state = pool.Stopping
		case p.Available:
			state = pool.Available
		case p.Ready:
			state = pool.Ready
		}
		switch {
		case !ok:
			w.Break("table", "#%d lives and is not in the table", p.ID)
		case row.State == pool.Stopping && !p.Stopping:
			relieved := p.Leaving != pool.Wanted && row.Why == p.Leaving
			if row.Why != pool.Surplus && !relieved {
				w.Break("table", "#%d is told to stop: %v", p.ID, row.Why)
			}
			if relieved {
				w.checkRelieved(p)
				for _, q := range w.Procs {
					// One that hangs goes as well when those that a rollout has
					// spared are enough, and what came in their place is still that.
					q.Instead = q.Instead && (q.Release != p.Release || p.Leaving.Hung())
				}
			}
			p.Stopping, p.hasty, p.why, p.decided, p.pingAt = true, !p.Ready || row.Why.Hung(), row.Why, w.Now, time.Time{}
			stopping = append(stopping, p)
		case row.State != state || p.Stopping && row.Why != p.why || row.Slot != p.Slot:
			w.Break("table", "#%d is %v (%v) in slot %d to the pool, and %v (%v) in slot %d", p.ID, row.State, row.Why, row.Slot, state, p.why, p.Slot)
		case p.Stopping || row.Leaving == p.Leaving:
		default:
			left = append(left, row)
		}
	}
	return stopping, left
}

// spared follows those that need not leave any more: before all else, for what
// came in their place is too many, and they are enough to relieve one that hangs.
func (w *World) spared() {
	for _, p := range w.Procs {
		row, ok := w.Pool.Worker(p.ID)
		if ok && row.State != pool.Stopping && row.Leaving == pool.Wanted && !p.Stopping {
			w.checkLeaving(p, row.Leaving)
		}
	}
}

// refuse tells of the spawns that came to nothing.
func (w *World) refuse() {
	for i := 0; i < len(w.Procs); {
		p := w.Procs[i]
		if !p.refused {
			i++
			continue
		}
		w.Procs = slices.Delete(w.Procs, i, i+1)
		w.book(p)
		w.note(Event{Kind: "could not be started", Proc: p})
		if fate := w.Pool.SpawnFailed(w.Now, p.ID); fate != pool.Failed {
			w.Break("facts", "the failed spawn of #%d was %q to the pool", p.ID, fateWords[fate])
		}
	}
}

// do is the world's side of an action.
func (w *World) do(a pool.Action) {
	switch a.Verb {
	case pool.Spawn:
		w.spawn(a)
	case pool.Stop:
		p := w.checkStop(a)
		p.Signalled, p.signalAt = true, w.Now
		p.readyAt = time.Time{}
		w.due(p)
		w.note(Event{Kind: "stop", Proc: p, Text: a.Why.String()})
		w.drain(p)
	case pool.Kill:
		p := w.checkKill(a)
		p.Killed = true
		w.note(Event{Kind: "kill", Proc: p, Text: a.Why.String()})
		p.exitAt, p.clean, p.readyAt = w.Now.Add(time.Millisecond), false, time.Time{}
	}
}

func (w *World) spawn(a pool.Action) {
	r := w.checkSpawn(a)
	w.lastID = a.ID
	p := &Proc{ID: a.ID, Slot: a.Slot, Release: r, born: w.Now, interval: r.Limits.Watchdog, Mute: r.Manner.Mute}
	if r.Limits.StartTimeout > 0 {
		p.readyBy = w.Now.Add(r.Limits.StartTimeout)
	}
	for _, q := range w.Procs {
		p.Instead = p.Instead || q.Release == r && q.recycled()
	}
	w.Procs = append(w.Procs, p)
	w.note(Event{Kind: "spawn", Proc: p})
	if w.OnSpawn != nil {
		w.OnSpawn(p)
	}
	if r.Manner.Refuse {
		p.refused = true
		return
	}
	w.Pool.Spawned(a.ID, 1000+int(a.ID))
	if r.Manner.Ready >= 0 {
		p.readyAt = w.Now.Add(r.Manner.Ready)
	}
	if r.Manner.Life > 0 {
		p.exitAt, p.clean = w.Now.Add(r.Manner.Life), r.Manner.Clean
	}
}
