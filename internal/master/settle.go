package master

import (
	"fmt"
	"fugue/internal/control"
	"maps"
	"slices"
	"time"

	"fugue/internal/config"
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
			m.announceTime(m.generations[m.current].config.Ready.Timeout)
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

// aim is the number of workers that there should be.
func (m *Master) aim() int {
	if m.paused {
		return 0
	}
	return m.wanted
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

// share gives the generations that serve the number of workers wanted.
func (m *Master) share() {
	reload.Share(m.pool, append([]pool.Generation{m.current}, m.leftovers...), m.aim())
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

func limits(c *config.Config) pool.Limits {
	return pool.Limits{
		StartTimeout: finite(c.Ready.Timeout), MinUptime: c.Restart.MinUptime,
		StopDelay: c.Stop.Delay, StopTimeout: finite(c.Stop.Timeout),
		Backoff: max(c.Restart.Backoff, time.Millisecond), MaxBackoff: c.Restart.MaxBackoff,
		Watchdog: c.Watchdog.Timeout, AbortTimeout: finite(c.Watchdog.KillAfter), ReplaceFirst: c.Watchdog.ReplaceFirst,
		MaxAge: finite(c.Recycle.MaxAge),
	}
}

func rolloutLimits(c *config.Config) reload.Limits {
	amount := func(a config.Amount) reload.Amount { return reload.Amount{N: a.Value, Percent: a.Percent} }
	return reload.Limits{
		Strategy: reload.Rolling{MaxSurge: amount(c.Reload.MaxSurge), MaxUnavailable: amount(c.Reload.MaxUnavailable)},
		Canary:   c.Reload.Canary, Bake: c.Reload.Bake, Tolerate: c.Reload.Tolerate, Timeout: finite(c.Reload.Timeout),
	}
}

// leastUptime is what a release is held to whose workers have died as soon as
// they were ready: where min_uptime is nothing, every one of them counts as
// available, and they would be started again and again without slowing down.
const leastUptime = 50 * time.Millisecond

// hold makes a worker that died so early the last one that was available.
func (m *Master) hold(now time.Time, row pool.Worker, fate pool.Fate) {
	if fate != pool.Died || now.Sub(row.Since) >= leastUptime {
		return
	}
	if l := limits(m.generations[row.Generation].config); l.MinUptime < leastUptime {
		l.MinUptime = leastUptime
		m.pool.SetLimits(row.Generation, l)
	}
}

// finite turns a limit that never comes into none.
func finite(d time.Duration) time.Duration {
	if d == config.Infinity {
		return 0
	}
	return d
}
