package master

import (
	"maps"
	"slices"
	"time"

	"fugue/pool"
	"fugue/reload"
)

// settle brings the outside to what is wanted, as far as is safe now, and
// returns when it wants to be called again if no fact comes before.
func (m *Master) settle(now time.Time) (wake time.Time) {
	for {
		m.pool.Pass(now)
		before := m.targets()
		m.steer(now)
		acts, next := m.pool.Next(now)
		for _, a := range acts {
			if a.Verb == pool.Spawn {
				m.spawns = append(m.spawns, a)
			} else if !m.unqueue(now, a) {
				m.signals = append(m.signals, a)
			}
		}
		if m.starting() && slices.ContainsFunc(acts, func(a pool.Action) bool { return a.Verb == pool.Spawn }) {
			m.announceTerm(now, m.generations[m.current].config.Ready.Timeout)
		}
		m.listen(now)
		if len(acts) == 0 && maps.Equal(before, m.targets()) {
			wake = next
			break
		}
	}
	if m.spawnSome(now) {
		wake = now
	}
	m.bringOut()
	m.save()
	m.act()
	m.reopen()
	m.turnAway()
	m.answer()
	m.publish(now)
	if m.handOver(now) {
		wake = now
	}
	for _, t := range []time.Time{m.rolloutWake(), m.endStrangers(now), m.closeWake(now), m.beat(now), m.lookUnread(now), m.weigh(now)} {
		if !t.IsZero() && (wake.IsZero() || t.Before(wake)) {
			wake = t
		}
	}
	m.publishTerm(now)
	return wake
}

// spawnBatch is how many processes are started in one turn of the loop. Each
// takes a millisecond or so: a thousand at once would leave exits, callers
// and systemd's watchdog unheard for many seconds.
const spawnBatch = 8

// spawnSome starts the next of those that wait; it reports whether the loop
// is to turn again at once.
func (m *Master) spawnSome(now time.Time) bool {
	batch := m.spawns[:min(spawnBatch, len(m.spawns))]
	m.spawns = m.spawns[len(batch):]
	failed := false
	for _, a := range batch {
		if err := m.letIn(); err != nil {
			m.unstarted(now, a, err)
			failed = true
			continue
		}
		failed = !m.spawn(now, a) || failed
	}
	return failed || len(m.spawns) > 0
}

// unqueue forgets a worker that is to be stopped before it was started.
func (m *Master) unqueue(now time.Time, a pool.Action) bool {
	i := slices.IndexFunc(m.spawns, func(q pool.Action) bool { return q.ID == a.ID })
	if i < 0 {
		return false
	}
	m.spawns = slices.Delete(m.spawns, i, i+1)
	m.pool.SpawnFailed(now, a.ID)
	return true
}

func (m *Master) targets() map[pool.Generation]int {
	targets := map[pool.Generation]int{}
	for g := range m.generations {
		targets[g] = m.pool.Target(g)
	}
	return targets
}

func (m *Master) rolloutWake() time.Time {
	if m.rollout == nil || m.ending != nil {
		return time.Time{}
	}
	return m.rollout.Wake()
}

// steer sets the targets for where the pool is in its life.
func (m *Master) steer(now time.Time) {
	switch {
	case m.ending != nil:
		m.steerEnd(now)
		return
	case m.rollout != nil:
		phase := m.rollout.Next(now, m.pool)
		if m.rollout.Why() != nil {
			phase = m.backToBefore(now, phase)
		}
		if phase.Over() {
			m.closeRollout(now)
		}
	case m.generations[m.current] != nil:
		m.steerSteady()
		m.steerStart(now)
		m.steerEmpty(now)
	}
	m.endScale(now)
	m.endRecycle(now)
}

// backToBefore gives a rollout that turns back the number of workers there
// was before: what served before is to serve again, and not a share of it
// because the file of the failed release said so.
func (m *Master) backToBefore(now time.Time, phase reload.Phase) reload.Phase {
	g := m.generations[m.rollout.To()]
	if g.asked == g.before {
		return phase
	}
	if m.wanted == g.asked.Wanted { // no scale has come in between
		m.wanted = g.before.Wanted
	}
	m.fileWanted, g.asked = g.before.File, g.before
	m.rollout.SetWant(m.wanted)
	if phase.Over() {
		m.share()
		return phase
	}
	return m.rollout.Next(now, m.pool)
}

// steerSteady keeps the pool full. What a stuck rollout left behind stays as
// long as it lives, even if it is more than is wanted: it may be all that
// there will be. What is missing comes from the release that had served.
func (m *Master) steerSteady() {
	target := m.aim()
	for _, g := range m.leftovers {
		m.pool.SetTarget(g, min(m.pool.Target(g), m.pool.Count(g).Ready))
		target -= m.pool.Target(g)
	}
	if len(m.leftovers) > 0 {
		target = max(target, min(m.pool.Target(m.current), m.pool.Count(m.current).Ready))
	}
	m.pool.SetTarget(m.current, target)
}

// bringOut forgets generations of which nothing is left, and what they held.
func (m *Master) bringOut() {
	for g := range m.generations {
		if g == m.current || m.running(g) {
			continue
		}
		if m.rollout != nil && (g == m.rollout.To() || slices.Contains(m.leftovers, g)) {
			continue
		}
		if m.pool.Drop(g) {
			delete(m.generations, g)
			m.leftovers = slices.DeleteFunc(m.leftovers, func(l pool.Generation) bool { return l == g })
		}
	}
}

// running reports that a process of g has not been collected yet.
func (m *Master) running(g pool.Generation) bool {
	for _, w := range m.workers {
		if w.generation == g {
			return true
		}
	}
	return false
}
