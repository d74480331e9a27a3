package master

import (
	"fmt"
	"time"

	"fugue/internal/config"
	"fugue/internal/control"
	"fugue/reload"
)

// empty reports that no worker is left, and the next start is waited for: all
// have ended, and starts have come to nothing more than once.
func (m *Master) empty() bool {
	return m.ending == nil && m.rollout == nil && !m.starting() && m.aim() > 0 && len(m.strangers) == 0 &&
		m.generations[m.current] != nil && m.pool.Total().Alive() == 0 && m.pool.Failing(m.current)
}

// steerEmpty ends a master without workers where that is wanted: whoever started
// it is to see it and to act. Else connections wait in the queues of the sockets, or
// are refused (see turnAway).
func (m *Master) steerEmpty(now time.Time) {
	g := m.generations[m.current]
	if m.perished == nil {
		if !m.empty() || g.config.WhenEmpty != config.EmptyExit {
			return
		}
		last := m.pool.Failures(m.current).Last
		m.perished = &last
	}
	m.pool.SetTarget(m.current, 0) // nothing is started any more for what is decided
	why, details, ready := m.verdict(&reload.FailedError{Failure: *m.perished}, g)
	if !ready {
		return
	}
	message := "no worker is left: " + why
	m.exit = &StartError{Exit: control.ExitFailed, Err: fmt.Errorf("%s (when_empty = %q)", message, config.EmptyExit), Details: details}
	m.abandonChanges(now, message)
	m.world.Tell("STATUS=" + message)
	m.world.Tell("STOPPING=1")
	// systemd may start the pool again: whoever waits in the queues waits on.
	m.ending = &ending{decided: true, closeOwn: m.opts.Unit == ""}
	m.pool.Abandon(now)
}
