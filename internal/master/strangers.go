package master

import (
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"fugue/pool"
)

// stranger is a process that a predecessor left in the unit's cgroup: it may
// well be an old worker that still serves. It is left alone until our own
// pool is ready, and then ended like an old worker.
type stranger struct {
	process   Process
	signalled bool
	killed    bool
	killAt    time.Time
}

func (m *Master) adoptStrangers(pids []int) {
	for _, pid := range pids {
		process, err := m.world.Adopt(logrus.NewEntry(m.log), pid, Memo{}, func() { m.report(strangerGone{pid}) })
		if err != nil {
			m.log.Debugf("watch process %d of a predecessor: %v", pid, err)
			continue
		}
		m.strangers[pid] = &stranger{process: process}
		m.log.Warnf("found process %d of a predecessor; it may serve until this pool is ready", pid)
	}
}

// strangerGone: a predecessor's process has ended.
type strangerGone struct{ pid int }

func (f strangerGone) apply(m *Master, _ time.Time) {
	s, ok := m.strangers[f.pid]
	if !ok {
		return
	}
	delete(m.strangers, f.pid)
	if _, err := s.process.Reap(); err != nil {
		m.log.Debugf("collect process %d of a predecessor: %v", f.pid, err)
	}
	m.log.Infof("process %d of a predecessor has ended", f.pid)
}

// endStrangers sends the stop signal when our own pool is ready or is being
// stopped, and SIGKILL after the timeout. It returns when it wants to be
// asked again.
func (m *Master) endStrangers(now time.Time) (wake time.Time) {
	g := m.generations[m.current]
	if g == nil || !m.replaced() {
		return time.Time{}
	}
	timeout := finite(g.config.Stop.Timeout)
	for pid, s := range m.strangers {
		late := !s.killAt.IsZero() && pool.Late(now.Sub(s.killAt), timeout) // as a worker it has more time then
		if timeout > 0 && (!s.signalled || late) {
			s.killAt = now.Add(timeout)
		}
		if !s.signalled {
			s.signalled = true
			sig := syscall.Signal(g.config.Stop.Signal)
			m.log.Infof("stopping process %d of a predecessor: %v", pid, sig)
			if err := s.process.Signal(sig); err != nil {
				m.log.Errorf("send %v to process %d of a predecessor: %v", sig, pid, err)
			}
		}
		switch {
		case s.killed || s.killAt.IsZero():
		case now.Before(s.killAt):
			if wake.IsZero() || s.killAt.Before(wake) {
				wake = s.killAt
			}
		default:
			s.killed = true
			m.log.Warnf("killing process %d of a predecessor: it did not stop in time", pid)
			if err := s.process.KillGroup(); err != nil {
				m.log.Errorf("kill process %d of a predecessor: %v", pid, err)
			}
		}
	}
	return wake
}

// replaced reports that the predecessor's processes are not needed any more:
// enough of our own workers are ready, or the pool is being stopped.
func (m *Master) replaced() bool {
	if m.ending != nil {
		return m.ending.decided
	}
	return m.everReady && m.enoughReady()
}

// enoughReady reports that as many workers are ready as may not be fewer.
func (m *Master) enoughReady() bool {
	g := m.generations[m.current]
	return g != nil && m.pool.Total().Ready >= m.least(g)
}

// least is how many workers may not be fewer ready. One is the least where
// any are wanted: a pool of which all may be unavailable would be up with
// nothing ready, and a predecessor's workers ended for it.
func (m *Master) least(g *generation) int {
	return max(min(1, m.aim()), m.aim()-g.config.Reload.Unavailable(m.aim()))
}

// strangersToEnd is the number of a predecessor's processes that a stop has
// to wait for. A master that never got as far as a release does not know how
// to end them and leaves them to the next one.
func (m *Master) strangersToEnd() int {
	if m.generations[m.current] == nil {
		return 0
	}
	return len(m.strangers)
}
