package master

import (
	"syscall"
	"time"

	"fugue/activation"
	"fugue/internal/control"
	"fugue/internal/proc"
	"fugue/pool"
	"fugue/reload"
)

// Inheritance is what a master finds at its start.
type Inheritance struct {
	State    *saved // nil: nothing to go on from
	Handover bool   // State is of this very process: nobody has died
	// Sockets are those of the generations in State, Held all there are.
	Sockets map[pool.Generation]*activation.Set
	Held    *activation.Set
	// Strangers are processes that a predecessor left and nobody knows.
	Strangers []int
	// Unusable says why what a predecessor wrote down was of no use.
	Unusable string
}

// restore goes on from where a predecessor was. It adopts the workers that
// live and books those that do not.
func (m *Master) restore(now time.Time, in Inheritance) {
	s, d := in.State, m.scribe.dial
	m.restorePool(in, d)
	h := s.Master
	m.current, m.last, m.leftovers = h.Current, h.Last, h.Leftovers
	m.wanted, m.fileWanted, m.paused = h.Wanted, h.FileWanted, h.Paused
	m.stuck, m.scaleBase, m.dropped = h.Stuck, h.ScaleBase, h.Dropped
	m.sockets = in.Held
	m.takeOverRefusal()
	m.reopenAsked = h.Reopen
	if e := s.Exec; in.Handover && e != nil && e.Events != nil {
		m.events.restore(*e.Events)
	} else {
		m.events.succeed(h.Events)
	}
	for _, slot := range h.Slots {
		*m.slot(slot.Slot) = slotPast{slot.Restarts, slot.LastExit}
	}
	m.changes.restore(h, d)
	m.recycling = recycling{h.RecycleIDs, h.RecycleBase}
	for _, w := range s.Workers {
		m.readopt(now, w, !in.Handover)
	}
	if r := h.Rollout; r != nil {
		m.rollout = reload.Restore(r.snapshot(d), rolloutLimits(m.generations[r.To].config))
		if c := m.changes.running; c != nil {
			c.made = r.To
		}
	}
	m.published.available = m.availableNow()
	g := m.generations[m.current]
	m.world.Configure(g.config)
	if in.Handover {
		m.everReady = h.Ready
		m.arrived(now)
		return
	}
	m.log.Warnf("took over from a master that is gone: %s of generation %d, %d of them ready", count(len(m.workers), "worker"), m.current, m.pool.Total().Ready)
	m.afterDeath(now, h)
}

func (m *Master) restorePool(in Inheritance, d dial) {
	h := in.State.Master
	table := pool.Snapshot{MaxDraining: h.MaxDraining, LastID: h.LastID}
	for _, g := range in.State.Generations {
		gen := &generation{config: g.Config, release: g.Release, sockets: in.Sockets[g.Number], inodes: map[uint64]bool{}, inbox: g.Inbox}
		for _, l := range gen.sockets.Listeners() {
			gen.inodes[l.Inode] = true
		}
		m.generations[g.Number] = gen
	}
	for _, t := range h.Table {
		if gen := m.generations[t.Generation]; gen != nil {
			gen.before, gen.asked = t.Before, t.Asked
			if gen.config.Watchdog.Signal == 0 { // written down before there was a watchdog
				t.Limits.AbortTimeout = t.Limits.StopTimeout
			}
		}
		table.Generations = append(table.Generations, pool.GenerationRow{
			Generation: t.Generation, Limits: t.Limits, Target: t.Target, Failures: t.Failures,
			Streak: t.Streak, FailedAt: d.time(t.FailedAt),
		})
	}
	for _, w := range in.State.Workers {
		table.Workers = append(table.Workers, pool.WorkerRow{
			ID: w.ID, Slot: w.Slot, Generation: w.Generation, PID: w.PID, State: stateOf[w.State], Why: w.Why,
			Born: d.time(w.Born), Since: d.time(w.Since), ReadyBy: d.time(w.ReadyBy), SignalAt: d.time(w.SignalAt), KillAt: d.time(w.KillAt),
			Signalled: w.Signalled, Killed: w.Killed, Judged: w.Judged,
			// What it said while nobody read is no matter: it has a whole interval.
			Interval: w.Watchdog, AliveBy: m.upSince.Add(w.Watchdog), Leaving: w.Leaving, Due: w.Due,
		})
	}
	if !in.Handover {
		m.orphan(table.Workers)
	}
	m.pool = pool.Restore(table)
}

// orphan marks the workers that the kernel has told to stop when their master
// died.
func (m *Master) orphan(rows []pool.WorkerRow) {
	for i := range rows {
		w := &rows[i]
		cfg := m.generations[w.Generation].config
		if w.State == pool.Stopping || !m.world.Orphaned(cfg) {
			continue
		}
		w.State, w.Why, w.Since, w.Judged = pool.Stopping, pool.Orphaned, m.upSince, true
		w.Signalled, w.SignalAt = true, m.upSince
		if t := finite(cfg.Stop.Timeout); t > 0 {
			w.KillAt = m.upSince.Add(t)
		}
	}
}

// readopt takes up one worker again, and does what a predecessor may have
// been about to do to it.
func (m *Master) readopt(now time.Time, s savedWorker, died bool) {
	w := &worker{
		id: s.ID, slot: s.Slot, generation: s.Generation, memo: s.Memo, began: true, stopLooking: func() {},
		sent: s.Sent, leaving: s.Leaving, gaveUp: s.GaveUp, status: s.Status, readyBy: s.Word, seenAt: m.scribe.dial.time(s.SeenAt), lateWord: s.LateWord,
	}
	process, err := m.world.Adopt(m.of(w), s.PID, s.Memo, func() { m.report(exited{s.ID}) })
	if err != nil {
		m.missed(now, w, s.PID, err)
		return
	}
	w.process, w.orphan = process, died
	m.workers[s.ID] = w
	switch row, _ := m.pool.Worker(s.ID); {
	case s.Killed:
		m.signals = append(m.signals, pool.Action{Verb: pool.Kill, ID: s.ID, Slot: s.Slot, Generation: s.Generation, Why: s.Why})
	case s.Signalled && !s.Sent && s.Why != pool.Itself && row.Why != pool.Orphaned:
		m.signals = append(m.signals, pool.Action{Verb: pool.Stop, ID: s.ID, Slot: s.Slot, Generation: s.Generation, Why: s.Why})
	case row.State == pool.Starting:
		m.look(w)
	}
}

// lostStarting forgets a worker that was starting when its master died and has
// ended since: it may have waited for the word that it was to run, and is no
// failure of its release. A start would end for it, or a way back get stuck.
func (m *Master) lostStarting(w *worker, pid int) {
	m.pool.Forget(w.id)
	m.of(w).Warnf("worker %d (pid %d) of generation %d was starting when the master died, and has ended; it is started again", w.slot, pid, w.generation)
	m.events.publish(control.Event{Kind: "exited", Slot: w.slot, PID: pid, Generation: int(w.generation), Text: "while its master died"})
}

// missed books a worker that ended while there was no master.
func (m *Master) missed(now time.Time, w *worker, pid int, why error) {
	row, _ := m.pool.Worker(w.id)
	if row.State == pool.Starting {
		m.lostStarting(w, pid)
		return
	}
	sig := syscall.Signal(m.generations[w.generation].config.Stop.Signal)
	fate := m.pool.Exited(now, w.id, clean(proc.Exit{Unknown: true}, row.State == pool.Stopping, sig))
	m.events.publish(control.Event{Kind: "exited", Slot: w.slot, PID: pid, Generation: int(w.generation), Text: "while there was no master"})
	if fate == pool.Asked {
		m.of(w).Infof("worker %d (pid %d) of generation %d stopped while there was no master", w.slot, pid, w.generation)
		return
	}
	m.of(w).Warnf("worker %d (pid %d) of generation %d ended while there was no master: %v", w.slot, pid, w.generation, why)
	m.slot(w.slot).restarts++
	m.slot(w.slot).lastExit = "ended while there was no master"
}

func (m *Master) availableNow() map[pool.ID]bool {
	seen := map[pool.ID]bool{}
	for _, row := range m.pool.Workers() {
		if row.State == pool.Available {
			seen[row.ID] = true
		}
	}
	return seen
}
