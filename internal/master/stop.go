package master

import (
	"context"
	"errors"
	"fugue/internal/config"
	"fugue/internal/control"
	"fugue/internal/systemd"
	"time"
)

// StartError is why a pool never came up.
type StartError struct {
	Exit    int // for the process
	Err     error
	Details []string // the last lines of the worker it is about
}

func (e *StartError) Error() string {
	text := e.Err.Error()
	for _, line := range e.Details {
		text += "\n  | " + line
	}
	return text
}

// ExitCode is what the process ends with.
func (e *StartError) ExitCode() int { return e.Exit }

func (e *StartError) Unwrap() error { return e.Err }

// exitCode is what a refusal ends with: bad input is told from what was
// right but could not be done.
func exitCode(err error) int {
	if _, bad := errors.AsType[*config.Error](err); bad {
		return control.ExitBadInput
	}
	if e, ok := errors.AsType[*control.Error](err); ok {
		return e.Exit
	}
	return control.ExitUndone
}

// ending is the last part of a pool's life.
type ending struct {
	change   *change
	began    time.Time
	asking   context.CancelFunc // of the question to systemd
	decided  bool               // it is known what is to become of workers and sockets
	leave    bool               // to a successor, all of them
	closeOwn bool               // this is a stop and no restart: new connections are to be refused
	closeAt  time.Time
	closed   bool
	atOnce   bool // asked for twice: nothing is waited for but the kernel
}

// jobTimeout is how long systemd may take to say whether this is a stop or a
// restart. Waiting costs no request: the workers serve.
const jobTimeout = 5 * time.Second

// stop begins the end; asked for once more, it comes at once. final says
// that nobody is going to start the pool again right away; otherwise systemd
// is asked.
func (m *Master) stop(now time.Time, why string, final bool) *change {
	if m.ending != nil {
		m.log.Warnf("%s, again: killing all workers", why)
		m.ending.atOnce = true
		m.decide(now, m.ending.closeOwn)
		m.pool.Abandon(now)
		for _, s := range m.strangers {
			s.signalled, s.killAt = true, now
		}
		return m.ending.change
	}
	m.log.Infof("stopping: %s", why)
	c := m.changes.open(kindStop, now)
	m.ending = &ending{change: c, began: now, asking: func() {}}
	m.world.Tell("STOPPING=1")
	if final || m.opts.Unit == "" {
		m.decide(now, true)
		return c
	}
	ctx, cancel := context.WithTimeout(context.Background(), jobTimeout)
	m.ending.asking = cancel
	go func() {
		defer cancel()
		fate, err := m.world.Fate(ctx)
		m.report(fateKnown{fate, err})
	}()
	return c
}

// noStart is told to who waits for more of a pool that did not come up.
const noStart = "the pool did not start"

// abandonChanges sends home who waited for what will not happen any more.
func (m *Master) abandonChanges(now time.Time, message string) {
	if m.preparing != nil {
		m.preparing.cancel()
	}
	for _, c := range append([]*change{m.changes.running, m.changes.upgrade, m.changes.waiting, m.changes.scaling}, m.changes.cancels...) {
		if c != nil {
			m.conclude(now, c, control.OutcomeCancelled, control.ExitUndone, message, nil)
		}
	}
	m.changes.cancels = nil
	if m.changes.recycle != nil {
		m.concludeRecycle(now, control.OutcomeCancelled, control.ExitUndone, message, nil)
	}
	if m.rollout != nil {
		m.keepBoth(m.generations[m.rollout.To()])
		m.rollout = nil
	}
}

// fateKnown: systemd has said what it is doing to us.
type fateKnown struct {
	fate systemd.Fate
	err  error
}

func (f fateKnown) apply(m *Master, now time.Time) {
	if m.ending == nil || m.ending.decided {
		return
	}
	switch {
	case f.err != nil:
		m.log.Warnf("ask systemd whether this is a stop or a restart: %v; it is taken for a stop, and the sockets stay open to the end", f.err)
	case f.fate == systemd.Left && m.canLeave():
		m.log.Info("this is a restart: workers and sockets are left to the next master")
		m.ending.asking()
		m.ending.decided, m.ending.leave = true, true
		return
	case f.fate != systemd.Stopped:
		m.log.Info("this is a restart: the sockets stay open for the next master")
	}
	m.decide(now, f.err == nil && f.fate == systemd.Stopped)
}

// canLeave reports that the workers outlive us, and that a successor will know
// them.
func (m *Master) canLeave() bool {
	g := m.generations[m.current]
	return m.scribe != nil && g != nil && !m.world.Orphaned(g.config)
}

// decide lets the workers go.
func (m *Master) decide(now time.Time, closeOwn bool) {
	e := m.ending
	if e.decided {
		return
	}
	e.asking()
	m.abandonChanges(now, "the pool is being stopped")
	e.decided, e.closeOwn, e.closeAt = true, closeOwn, now
	var longest time.Duration
	for g, gen := range m.generations {
		m.pool.SetTarget(g, 0)
		stop := gen.config.Stop
		longest = max(longest, stop.Delay+finite(stop.Timeout))
		if g == m.current {
			e.closeAt = now.Add(stop.Delay)
		}
	}
	m.announceTerm(now, longest)
}

// steerEnd closes our own sockets when the stop signals go out, so that new
// connections are refused and not left hanging; those of .socket units are
// systemd's.
func (m *Master) steerEnd(now time.Time) {
	e := m.ending
	if !e.decided || e.leave {
		return
	}
	for g := range m.generations {
		m.pool.SetTarget(g, 0)
	}
	// A preparation works with the sockets; it has been told to end.
	if e.closeOwn && !e.closed && !now.Before(e.closeAt) && m.preparing == nil {
		e.closed = true
		m.closeOwn()
	}
}

func (m *Master) closeOwn() {
	if m.sockets == nil {
		return
	}
	for _, l := range m.sockets.Listeners() {
		if l.StoreName != "" {
			m.world.Unstore(l.StoreName)
		}
	}
	if err := m.sockets.Close(true); err != nil {
		m.log.Warnf("close the sockets: %v", err)
	}
}

func (m *Master) closeWake(now time.Time) time.Time {
	if e := m.ending; e != nil && e.decided && e.closeOwn && !e.closed && e.closeAt.After(now) {
		return e.closeAt
	}
	return time.Time{}
}

// over reports that nothing is left to wait for, and sends the last callers
// home.
func (m *Master) over() bool {
	e := m.ending
	if e != nil && m.rehearsal != nil && !e.atOnce {
		return false // its process is being killed
	}
	if e != nil && m.departing {
		return false // or it would hang up while we do, and start a guard for nobody
	}
	if e != nil && e.leave {
		m.events.close()
		return true
	}
	if e == nil || !e.decided || len(m.workers) > 0 || m.strangersToEnd() > 0 {
		return false
	}
	if m.preparing != nil && !e.atOnce {
		return false // it may have bound something, which is to be taken back
	}
	now := time.Now()
	if e.closeOwn && !e.closed {
		m.closeOwn()
	}
	if e.change != nil {
		m.conclude(now, e.change, control.OutcomeOK, control.ExitOK, "stopped", nil)
	}
	m.save()
	m.answer()
	m.events.close()
	return true
}

// leaving reports that a successor is to have everything and to read the file
// anew; isEnded that nothing is to be taken over.
func (m *Master) leaving() bool { return m.ending != nil && m.ending.leave }

func (m *Master) isEnded() bool {
	return m.ending != nil && m.ending.decided && !m.ending.leave
}

// finalStop reports that the pool was stopped for good and not for a
// successor.
func (m *Master) finalStop() bool { return m.ending != nil && m.ending.closeOwn }
