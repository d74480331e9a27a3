package master

import (
	"fmt"
	"slices"
	"time"

	"fugue/internal/control"
	"fugue/pool"
)

// starting reports that the pool is on its way up for the first time.
func (m *Master) starting() bool {
	c := m.changes.running
	return c != nil && c.Kind == kindStart && m.preparing == nil
}

// steerStart ends the start: when enough workers are ready; or when the first
// of every place have had their try, and as many failed as there are places,
// or three times as many as are still empty.
func (m *Master) steerStart(now time.Time) {
	if !m.starting() {
		return
	}
	c, g := m.changes.running, m.generations[m.current]
	have := m.pool.Count(m.current)
	if have.Ready >= m.least(g) {
		m.endStart(now, control.OutcomeOK, control.ExitOK, fmt.Sprintf("generation %d serves (%s)", m.current, count(m.aim(), "worker")), nil)
		return
	}
	failures := m.pool.Failures(m.current)
	if failures.Starts < min(m.aim(), 3*(m.aim()-have.Ready)) || m.firstTries() {
		return
	}
	lost := have.Ready == 0 && len(m.strangers) == 0
	if lost {
		m.pool.SetTarget(m.current, 0) // nothing is started any more for what is decided
	}
	why, details, ready := m.verdict(c.blames(failures.Last), g)
	if !ready {
		return
	}
	if lost {
		m.exit = &StartError{Exit: control.ExitFailed, Err: fmt.Errorf("the pool did not start: %s", why), Details: details}
		m.conclude(now, c, control.OutcomeFailed, control.ExitFailed, "the pool did not start: "+why, details)
		m.abandonChanges(now, noStart)
		// systemd starts the pool again: whoever waits in the queues waits on.
		m.ending = &ending{decided: true, closeOwn: m.opts.Unit == ""}
		m.pool.Abandon(now)
		return
	}
	m.endStart(now, control.OutcomeFailed, control.ExitFailed, why, details)
}

// firstTries reports that one of the first workers of all is still starting.
func (m *Master) firstTries() bool {
	return slices.ContainsFunc(m.pool.Workers(), func(w pool.Worker) bool {
		return w.State == pool.Starting && w.ID <= pool.ID(m.aim()) // they count from 1
	})
}

// endStart is the moment at which systemd learns that the pool is up.
func (m *Master) endStart(now time.Time, outcome string, exit int, message string, details []string) {
	if outcome != control.OutcomeCancelled { // else the reload says it
		m.announceReady()
	}
	m.conclude(now, m.changes.running, outcome, exit, message, details)
	m.nextChange(now)
}
