package master

import (
	"golang.org/x/sys/unix"
	"syscall"
	"time"

	"fugue/internal/control"
	"fugue/internal/launch"
	"fugue/internal/proc"
)

// Signals are those that a master acts on; it is born with them blocked and
// reads them from a signalfd.
func Signals() []syscall.Signal {
	return append([]syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP}, launch.Blocked()...)
}

// signalled acts on one signal.
func (m *Master) signalled(now time.Time, f proc.Signal) {
	// TTIN, TTOU and WINCH also come from a terminal, by themselves: a
	// window that is resized must not stop a pool.
	switch f.Signal {
	case syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT:
		// timeout(1) and others signal the process and then its group: what
		// comes twice in the same moment was meant once.
		if m.ending != nil && now.Sub(m.ending.began) < sameMoment {
			return
		}
		m.stop(now, "stopped by "+unix.SignalName(f.Signal), f.Signal != syscall.SIGTERM)
	case syscall.SIGHUP:
		switch {
		case f.FromUser:
			m.reload(now, false, false)
		case m.ending == nil: // a shell passes on what the kernel said already
			m.stop(now, "the terminal is gone", true)
		}
	case syscall.SIGUSR2: // the whole app: the program itself, then its release
		m.upgrade(now)
		m.reload(now, false, false)
	case syscall.SIGUSR1:
		m.reopenAsked = true
	case syscall.SIGTTIN:
		if f.FromUser {
			m.scale(now, m.wanted+1)
		}
	case syscall.SIGTTOU:
		if f.FromUser && m.wanted > 0 {
			m.scale(now, m.wanted-1)
		}
	case syscall.SIGWINCH:
		if f.FromUser {
			m.pause(now)
		}
	}
}

// sameMoment is how long after the first a second stop signal is no word of
// its own.
const sameMoment = 500 * time.Millisecond

// pause stops all workers and keeps the sockets and the wanted number;
// connections wait until a reload or a scale brings workers back.
func (m *Master) pause(now time.Time) {
	if m.ending != nil || m.rollout != nil || m.changes.running != nil {
		m.log.Warn("WINCH: not while another change is under way")
		return
	}
	m.log.Info("WINCH: all workers stop; connections wait until a reload or a scale")
	if c := m.changes.scaling; c != nil {
		m.conclude(now, c, control.OutcomeCancelled, control.ExitUndone, "all workers were stopped by SIGWINCH", nil)
	}
	m.paused = true
	m.share()
}

// pending: signals wait to be taken. The loop takes them itself: one that it
// has not taken stays pending in the process, over an exec too.
type pending struct{ take func() []proc.Signal }

func (f pending) apply(m *Master, now time.Time) {
	for _, s := range f.take() {
		m.signalled(now, s)
	}
}
