package master

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"fugue/internal/control"
	"fugue/pool"
	"fugue/reload"
)

// preparation is the job that reads the file, binds, and runs the check.
type preparation struct {
	cancel    context.CancelFunc
	cancelled bool // what it brings is not wanted any more
}

// errCancelled is why a rollout turns back that somebody cancelled.
var errCancelled = errors.New("cancelled")

// isCancelled knows it by its word: a successor has no more of it.
func isCancelled(why error) bool { return why.Error() == errCancelled.Error() }

// begin starts the preparation of a start or a reload.
func (m *Master) begin(c *change) {
	c.State = control.ChangeRunning
	m.changes.running = c
	ctx, cancel := context.WithCancel(context.Background())
	m.preparing = &preparation{cancel: cancel}
	current := m.sockets
	go func() {
		defer cancel()
		p, err := m.world.Prepare(ctx, current)
		m.report(prepared{c, p, err})
	}()
	if c.Kind == kindReload {
		m.announceReload(c.unit)
	}
}

// reload asks for one: now, or after the change that is under way. All that
// wait share the next one. With cancel, the reload under way is turned back
// first. unit: systemd asks for it.
func (m *Master) reload(now time.Time, cancel, unit bool) *change {
	if m.ending != nil {
		return nil
	}
	if m.changes.running == nil {
		c := m.changes.open(kindReload, now)
		c.unit = unit
		m.begin(c)
		return c
	}
	c := m.changes.waiting
	if c == nil {
		c = m.changes.open(kindReload, now)
		c.State = control.ChangeWaiting
		m.changes.waiting = c
	}
	c.unit = c.unit || unit
	if cancel {
		m.cancel(now) // c may be running now
	}
	return c
}

// cancel turns back what is under way; it reports whether something was.
func (m *Master) cancel(now time.Time) bool {
	running := m.changes.running
	switch {
	case running == nil:
		return false
	case m.preparing != nil:
		m.preparing.cancelled = true
		m.preparing.cancel()
		return running.Kind == kindReload
	case m.rollout != nil:
		return m.rollout.Cancel(errCancelled)
	case running.Kind == kindStart:
		// A pool that does not come up is left for the release that will.
		m.endStart(now, control.OutcomeCancelled, control.ExitUndone, "the start was cancelled by a reload", nil)
		return true
	}
	return false
}

// install makes a prepared release the next generation.
func (m *Master) install(now time.Time, c *change, p *Prepared) {
	m.last++
	g := &generation{config: p.Config, release: p.Release, candidate: p.Candidate, sockets: p.Candidate.Set(), inodes: map[uint64]bool{}, inbox: p.Inbox}
	for _, l := range g.sockets.Listeners() {
		g.inodes[l.Inode] = true
	}
	m.generations[m.last] = g
	c.made = m.last
	m.pool.SetLimits(m.last, limits(p.Config))
	m.pool.SetMaxDraining(p.Config.Stop.MaxDraining)
	if c.Kind == kindStart {
		m.commit(p.Candidate) // nothing serves yet that could still need it
	}
	for _, l := range p.Candidate.Added() {
		m.world.Store(l)
	}
	g.before = numbers{m.wanted, m.fileWanted}
	if m.fileWanted != p.Config.Workers {
		m.wanted, m.fileWanted = p.Config.Workers, p.Config.Workers
	}
	g.asked = numbers{m.wanted, m.fileWanted}
	if c.Kind == kindStart {
		m.current = m.last
		m.world.Configure(p.Config)
		m.sockets = g.sockets
		about(m.log, 0, m.last).Infof("generation %d: starting %s of %s", m.last, count(m.wanted, "worker"), p.Release.Path)
		return
	}
	m.paused = false
	from := append([]pool.Generation{m.current}, m.leftovers...)
	m.rollout = reload.New(now, rolloutLimits(p.Config), from, m.last, m.wanted, m.pool)
	about(m.log, 0, m.last).Infof("%s %d: rolling from generation %d to %d (%s)", c.Kind, c.Number, m.current, m.last, p.Release.Path)
}

// closeRollout ends the reload of a rollout that is over. A verdict that
// names a worker waits for that worker's last lines.
func (m *Master) closeRollout(now time.Time) {
	r, c := m.rollout, m.changes.running
	to := r.To()
	g := m.generations[to]
	switch r.Phase() {
	case reload.Done:
		old := m.sockets
		m.current, m.leftovers, m.stuck = to, nil, ""
		m.takeSockets(g)
		m.world.Configure(g.config)
		m.rollout = nil
		for _, s := range m.slots {
			s.lastExit = "" // it was another release's
		}
		took := now.Sub(c.began).Round(100 * time.Millisecond)
		m.endReload(now, c, control.OutcomeOK, control.ExitOK, fmt.Sprintf("generation %d serves (%s, %v)", to, count(m.wanted, "worker"), took), socketNews(old, g.sockets))
	case reload.Undone:
		why, details, ready := m.verdict(r.Why(), g)
		if !ready {
			return
		}
		m.dropSockets(g)
		m.share()
		m.pool.SetMaxDraining(m.generations[m.current].config.Stop.MaxDraining)
		m.rollout = nil
		outcome, what := control.OutcomeUndone, "undone: "+why
		if isCancelled(r.Why()) {
			outcome, what = control.OutcomeCancelled, "cancelled"
		}
		m.endReload(now, c, outcome, control.ExitUndone, fmt.Sprintf("reload %s; %s", what, m.serving()), details)
	case reload.Stuck:
		why, details, ready := m.verdict(r.Why(), g)
		back, more, readyToo := m.verdict(r.WhyStuck(), m.generations[m.current])
		if !ready || !readyToo {
			return
		}
		m.keepBoth(g)
		m.leftovers = append(m.leftovers, to)
		m.rollout = nil
		if m.changes.scaling != nil {
			m.share() // somebody asked for a number meanwhile
		}
		m.stuck = fmt.Sprintf("generation %d failed (%s) and going back to generation %d failed too (%s)", to, why, m.current, back)
		m.endReload(now, c, control.OutcomeStuck, control.ExitFailed, m.stuck+"; every worker that is ready stays", append(details, more...))
	}
}

// serving says what there is to answer clients with after a change that came
// to nothing; of a pool that was in a bad way before, no more than is true.
func (m *Master) serving() string {
	g, ready := m.generations[m.current], m.pool.Total().Ready
	if ready < m.least(g) {
		return fmt.Sprintf("generation %d stays, with %d of %s ready", m.current, ready, count(m.aim(), "worker"))
	}
	return fmt.Sprintf("generation %d serves", m.current)
}

// endReload concludes a reload, and those who asked for its cancelling, and
// lets the one that waited begin.
func (m *Master) endReload(now time.Time, c *change, outcome string, exit int, message string, details []string) {
	if c == m.afterRestart {
		m.afterRestart = nil
		if outcome != control.OutcomeOK {
			m.stuck = "the restart did not bring the new release: " + message
		}
	}
	if m.everReady || outcome == control.OutcomeOK {
		m.announceReady()
	}
	m.conclude(now, c, outcome, exit, message, details)
	m.endCancels(now, outcome)
	m.nextChange(now)
}

func (m *Master) endCancels(now time.Time, outcome string) {
	for _, c := range m.changes.cancels {
		switch outcome {
		case control.OutcomeOK:
			m.conclude(now, c, control.OutcomeFailed, control.ExitFailed, "too late: the reload was done", nil)
		case control.OutcomeStuck:
			m.conclude(now, c, control.OutcomeFailed, control.ExitFailed, m.stuck, nil)
		default:
			m.conclude(now, c, control.OutcomeOK, control.ExitOK, m.serving(), nil)
		}
	}
	m.changes.cancels = nil
}

// nextChange begins what waited: a handover before a reload, which is then
// the new program's.
func (m *Master) nextChange(now time.Time) {
	if m.changes.running != nil || m.ending != nil {
		return
	}
	if c := m.changes.upgrade; c != nil {
		m.changes.upgrade = nil
		c.Started, c.began = now, now
		m.beginUpgrade(c)
		return
	}
	c := m.changes.waiting
	if c == nil {
		return
	}
	m.changes.waiting = nil
	c.Started, c.began = now, now
	m.begin(c)
}

// verdict puts into words why a rollout turned; ready is false while the
// failed worker's last lines are still on their way.
func (m *Master) verdict(why error, g *generation) (text string, details []string, ready bool) {
	failed, ok := errors.AsType[*reload.FailedError](why)
	if !ok {
		return why.Error(), nil, true
	}
	b := m.obits.find(failed.ID)
	if b == nil {
		w, living := m.workers[failed.ID]
		if !living {
			return why.Error(), nil, true
		}
		b = m.obituary(w, false)
	}
	ended := b.exited || b.launch != nil || failed.NotReady || failed.Hung || b.waited // it may take its time
	return b.sentence(failed.Failure, g.config), b.stderr, b.complete && ended
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	if strings.HasSuffix(what, "s") {
		what += "e"
	}
	return fmt.Sprintf("%d %ss", n, what)
}
