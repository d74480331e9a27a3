package master

import (
	"fmt"
	"time"

	"fugue/internal/control"
	"fugue/internal/logs"
	"fugue/internal/notify"
	"fugue/pool"
	"fugue/reload"
)

// published is what the outside was told last; it is told again only when
// something has changed.
type published struct {
	state     string
	since     time.Time // when state changed
	line      string    // STATUS=
	progress  control.Progress
	deadline  time.Time // of the rollout, when systemd was asked for the time
	term      time.Time // so long systemd was asked to wait for workers that start or end
	available map[pool.ID]bool
	reloading bool // RELOADING=1 was sent, and READY=1 not yet
	beatAt    time.Time
}

// publish tells systemd, the callers and the followers what has changed,
// once for all the facts of a turn.
func (m *Master) publish(now time.Time) {
	p := &m.published
	state, reason := m.state()
	if state != p.state {
		m.events.publish(control.Event{Time: now, Kind: "state", Text: describe(state, reason)})
		if state == control.StateDegraded {
			m.log.Warnf("the pool is degraded: %s", reason)
		}
		p.state, p.since = state, now
	}
	m.publishAvailable(now)
	m.publishProgress(now)
	m.publishDeadline(now)
	if c := m.changes.running; (c == nil || c.Kind == kindUpgrade) && !m.everReady && m.enoughReady() {
		m.announceReady() // a start that was cancelled has come up after all
	}
	if line := logs.OneLine(m.line(state, reason)); line != p.line {
		p.line = line
		m.world.Tell("STATUS=" + line)
	}
}

func describe(state, reason string) string {
	if reason == "" {
		return state
	}
	return state + ": " + reason
}

// line is the truth in one line, for systemctl status.
func (m *Master) line(state, reason string) string {
	c := m.pool.Total()
	line := fmt.Sprintf("%s: %d of %d workers ready, generation %d", state, c.Ready, m.aim(), m.current)
	if m.rollout != nil {
		p := m.progress()
		line += fmt.Sprintf("; %s to generation %d: %d of %d ready", p.Phase, p.Generation, p.Ready, p.Wanted)
	}
	if c.Stopping > 0 {
		line += fmt.Sprintf("; %d stopping", c.Stopping)
	}
	if reason != "" {
		line += "; " + reason
	}
	if m.storeShort != "" && m.ending == nil {
		line += "; " + m.storeShort
	}
	return line
}

func (m *Master) publishAvailable(now time.Time) {
	seen := map[pool.ID]bool{}
	for _, row := range m.pool.Workers() {
		m.publishLeaving(row)
		if row.State != pool.Available {
			continue
		}
		seen[row.ID] = true
		if w := m.workers[row.ID]; w != nil && !m.published.available[row.ID] {
			e := event("available", w, "")
			e.Time = now
			m.events.publish(e)
		}
	}
	m.published.available = seen
}

// progress is how far the change under way is.
func (m *Master) progress() control.Progress {
	if m.rollout == nil {
		return control.Progress{Phase: "preparing", Generation: int(m.last) + 1, Wanted: m.aim(), Old: m.pool.Total().Ready}
	}
	to := m.rollout.To()
	c := m.pool.Count(to)
	return control.Progress{
		Phase: phaseWord(m.rollout.Phase()), Generation: int(to), Wanted: m.aim(),
		Ready: c.Ready, Available: c.Available, Old: m.pool.Total().Ready - c.Ready,
	}
}

func phaseWord(p reload.Phase) string {
	switch p {
	case reload.Canary:
		return "canary"
	case reload.Baking:
		return "baking"
	case reload.Advancing, reload.Done:
		return "rolling"
	}
	return "rolling-back"
}

func (m *Master) publishProgress(now time.Time) {
	c := m.changes.running
	if c == nil || c.Kind != kindReload {
		m.published.progress = control.Progress{}
		return
	}
	p := m.progress()
	if p == m.published.progress {
		return
	}
	m.published.progress = p
	e := control.Event{Time: now, Kind: "progress", Generation: p.Generation, Progress: &p}
	c.tell(e)
	m.events.publish(e)
}

// publishDeadline asks systemd for the time that a rollout may take: when it
// begins, and again when it turns back.
func (m *Master) publishDeadline(now time.Time) {
	var deadline time.Time
	if m.rollout != nil && !m.rollout.Phase().Over() {
		deadline = m.rollout.Deadline()
	}
	if deadline.Equal(m.published.deadline) {
		return
	}
	m.published.deadline = deadline
	if !deadline.IsZero() {
		m.announceTime(deadline.Sub(now))
	}
}

// publishTerm asks systemd for more where workers have more time than it was
// asked for: they have said that they need it, or nobody could look when it was
// over. A second here and there comes out of the margin.
func (m *Master) publishTerm(now time.Time) {
	last := m.published.term
	until := func(at time.Time) {
		if at.After(last) {
			last = at
		}
	}
	starting, ended := m.starting(), m.isEnded()
	if !starting && !ended {
		return
	}
	for row := range m.pool.Rows {
		switch {
		case starting && row.State == pool.Starting:
			until(row.ReadyBy)
		case ended && row.State == pool.Stopping && !row.Killed:
			until(row.KillAt)
		}
	}
	for _, s := range m.strangers {
		if ended && !s.killed {
			until(s.killAt)
		}
	}
	if last.Sub(m.published.term) > margin/4 {
		m.announceTerm(now, last.Sub(now))
	}
}

// announceTerm asks systemd for the time that workers have now, to start or to
// end.
func (m *Master) announceTerm(now time.Time, d time.Duration) {
	m.published.term = now.Add(min(d, forever))
	m.announceTime(d)
}

// announceReload tells systemd that a reload has begun. It is always
// followed by announceReady: 257 would wait for ever otherwise. A pool that
// has not come up yet has nothing to reload as far as systemd knows.
//
// In a reload that systemd began itself (ExecReload=) the unit shows as
// reloading anyway, and RELOADING=1 would do harm: 257 waits for READY=1 when
// that command has ended, even from a master that has died meanwhile, and
// starts no other until TimeoutStartSec= is over.
func (m *Master) announceReload(unit bool) {
	if m.everReady && !unit {
		m.published.reloading = true
		m.world.Tell(notify.Reloading())
	}
	if g := m.generations[m.current]; g != nil {
		m.announceTime(g.config.Reload.Timeout)
	}
}

// announceReady tells systemd that the pool serves, or serves again.
func (m *Master) announceReady() {
	if m.ending != nil || m.everReady && !m.published.reloading {
		return
	}
	m.everReady, m.published.reloading = true, false
	m.world.Tell(notify.Ready)
}

// margin is what systemd is asked for beyond our own limits, so that it is
// the master that gives up first and says why.
const margin = tailTimeout + 10*time.Second

// announceTime asks systemd for the time that what begins now may take.
func (m *Master) announceTime(d time.Duration) {
	if d > 0 {
		m.world.Tell(moreTime(d))
	}
}

// forever is what systemd is asked for where there is no limit: it has limits
// of its own, and those would end a reload that is to take as long as it needs.
const forever = 365 * 24 * time.Hour

// moreTime is that question.
func moreTime(d time.Duration) string { return notify.ExtendTimeout(min(d, forever) + margin) }

// beat sends systemd's watchdog its ping while the loop turns, and only
// that: the workers' state never withholds it.
func (m *Master) beat(now time.Time) time.Time {
	if m.opts.Watchdog <= 0 {
		return time.Time{}
	}
	if !now.Before(m.published.beatAt) {
		m.published.beatAt = now.Add(m.opts.Watchdog / 2)
		m.world.Tell(notify.Watchdog)
	}
	return m.published.beatAt
}
