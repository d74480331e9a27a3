package master

import (
	"fmt"
	"time"

	"fugue/internal/control"
	"fugue/pool"
	"fugue/reload"
)

// aim is the number of workers that there should be.
func (m *Master) aim() int {
	if m.paused {
		return 0
	}
	return m.wanted
}

// share gives the generations that serve the number of workers wanted.
func (m *Master) share() {
	reload.Share(m.pool, append([]pool.Generation{m.current}, m.leftovers...), m.aim())
}

// scale changes the wanted number of workers.
func (m *Master) scale(now time.Time, n int) *change {
	if m.ending != nil || m.generations[m.current] == nil {
		return nil
	}
	if old := m.changes.scaling; old != nil {
		m.conclude(now, old, control.OutcomeCancelled, control.ExitUndone, "another scale came after it", nil)
	}
	c := m.changes.open(kindScale, now)
	m.changes.scaling = c
	m.scaleBase = m.pool.Failures(m.current).Total()
	text := fmt.Sprintf("%d to %s", m.wanted, count(n, "worker"))
	m.log.Infof("scale %d: %s", c.Number, text)
	m.events.publish(control.Event{Time: now, Kind: "scaling", Text: text})
	m.wanted, m.paused = n, false
	if m.rollout != nil {
		m.rollout.SetWant(n)
	} else {
		m.share()
	}
	return c
}

// endScale ends a scale when its number of workers is there, or one of them
// failed.
func (m *Master) endScale(now time.Time) {
	c := m.changes.scaling
	if c == nil || m.rollout != nil || m.starting() {
		return
	}
	have := m.pool.Total()
	if have.Alive() == m.aim() && have.Ready == m.aim() {
		m.conclude(now, c, control.OutcomeOK, control.ExitOK, count(m.wanted, "worker"), nil)
		return
	}
	failures := m.pool.Failures(m.current)
	if failures.Total() <= m.scaleBase {
		return
	}
	why, details, ready := m.verdict(c.blames(failures.Last), m.generations[m.current])
	if ready {
		m.conclude(now, c, control.OutcomeFailed, control.ExitFailed, why+"; it is tried again, ever more slowly", details)
	}
}
