package master

import (
	"errors"
	"time"

	"fugue/internal/control"
)

// Why a rollout turns back whose master is gone: a death never deploys, and a
// restart begins anew, with what the file says now.
var (
	errDied = errors.New("the master died during the rollout, and another took over")
	errLeft = errors.New("the master was restarted during the rollout")
)

// afterDeath brings to an end what only the predecessor could have gone on
// with.
func (m *Master) afterDeath(now time.Time, was savedMaster) {
	why, words := errDied, "the master died before"
	if m.concludeStop(now, was.Leaving) && was.Leaving {
		why, words = errLeft, "the master was restarted before"
	}
	running := m.changes.running
	switch {
	case m.rollout != nil:
		if !m.rollout.Left(m.pool) {
			m.rollout.Cancel(why)
		}
	case running != nil && running.Kind == kindReload:
		m.conclude(now, running, control.OutcomeUndone, control.ExitUndone, "reload undone: "+words+" anything was touched; "+m.serving(), nil)
		m.endCancels(now, control.OutcomeUndone)
	case running != nil && running.Kind == kindUpgrade:
		m.conclude(now, running, control.OutcomeFailed, control.ExitFailed, "upgrade failed: the master died in it, and another took over", nil)
	}
	for _, c := range []*change{m.changes.waiting, m.changes.upgrade} {
		if c != nil {
			m.conclude(now, c, control.OutcomeUndone, control.ExitUndone, c.Kind+" not begun: "+words+"; ask again", nil)
		}
	}
	if was.Leaving {
		m.afterRestart = m.reload(now, false, false)
	}
}

// concludeStop answers who had asked for the end that was not one: a restart,
// or a stop whose master died before it knew which of the two it was. It
// reports whether there was one.
func (m *Master) concludeStop(now time.Time, left bool) (stopping bool) {
	for _, c := range m.changes.list {
		if c.Kind != kindStop || c.State == control.ChangeDone {
			continue
		}
		stopping = true
		if left {
			m.conclude(now, c, control.OutcomeOK, control.ExitOK, "this was a restart: another master took over", nil)
		} else {
			m.conclude(now, c, control.OutcomeFailed, control.ExitFailed, "not stopped: the master died before it was known whether this was a restart, and another took over", nil)
		}
	}
	return stopping
}
