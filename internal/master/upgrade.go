package master

import (
	"context"
	"fmt"
	"time"

	"fugue/internal/control"
)

// handing is a handover on its way: the program now on disk takes the place
// of this one, as the same process. It is rehearsed first; then callers and
// workers are asked to wait; then, when nothing is half done, comes the exec.
type handing struct {
	change    *change
	rehearsed bool
	leaving   bool // Depart is under way
	departed  bool
}

// upgrade asks for a handover: now, or after the change that is under way.
// All that wait share the next one.
func (m *Master) upgrade(now time.Time) *change {
	if m.ending != nil {
		return nil
	}
	if m.changes.running == nil {
		c := m.changes.open(kindUpgrade, now)
		m.beginUpgrade(c)
		return c
	}
	if m.changes.upgrade == nil {
		c := m.changes.open(kindUpgrade, now)
		c.State = control.ChangeWaiting
		m.changes.upgrade = c
	}
	return m.changes.upgrade
}

func (m *Master) beginUpgrade(c *change) {
	c.State = control.ChangeRunning
	m.changes.running = c
	m.handing = &handing{change: c}
	if m.scribe == nil {
		m.stay(time.Now(), fmt.Errorf("this master writes nothing down for another"))
		return
	}
	m.save()
	state, err := m.scribe.whole()
	if err != nil {
		m.stay(time.Now(), err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.rehearsal = cancel
	go func() { m.report(rehearsed{c, m.world.Rehearse(ctx, state)}) }()
}

// rehearsed: the program now on disk has read the state, or has not.
type rehearsed struct {
	change *change
	err    error
}

func (f rehearsed) apply(m *Master, now time.Time) {
	m.rehearsal()
	m.rehearsal = nil
	if m.handing == nil || m.handing.change != f.change {
		return
	}
	if f.err != nil {
		m.stay(now, f.err)
		return
	}
	m.handing.rehearsed = true
}

// departed: callers and workers wait.
type departed struct{ change *change }

func (f departed) apply(m *Master, _ time.Time) {
	m.departing = false
	if m.handing == nil || m.handing.change != f.change {
		m.world.Return() // a stop came in between
		return
	}
	m.handing.departed = true
}

// handOver goes on with the handover as far as it can now. An exec that takes
// place does not return; of one that does not, what it changed is still to be
// settled, and handOver reports so.
func (m *Master) handOver(now time.Time) (again bool) {
	h := m.handing
	switch {
	case h == nil:
	case m.ending != nil:
		m.handing = nil // abandoned with all other changes
		if m.rehearsal != nil {
			m.rehearsal() // a process that outlives us would be nobody's
		}
		if h.departed {
			m.world.Return()
		}
	case !h.rehearsed || !m.quiet():
	case !h.leaving:
		h.leaving, m.departing = true, true
		go func() {
			m.world.Depart(context.Background())
			m.report(departed{h.change})
		}()
	case h.departed:
		m.goOver(now, h)
		return true
	}
	return false
}

// quiet reports that nothing is half done that the next image could not take
// up: no process on its way to its command, none that failed on that way and
// has not been collected, none of which only its group is left, no job whose end would be lost, nothing of a
// predecessor that may have had its signal.
func (m *Master) quiet() bool {
	if len(m.spawns) > 0 || len(m.held) > 0 || len(m.signals) > 0 || m.preparing != nil || m.tailing > 0 || m.rollout != nil || m.reopening {
		return false
	}
	for id, w := range m.workers {
		if _, ok := m.pool.Worker(id); !ok || !w.began || w.lingers {
			return false
		}
	}
	return len(m.strangers) == 0
}

// goOver is the exec. The signals that came until now are acted on before it;
// what they ask for crosses it with the state.
func (m *Master) goOver(now time.Time, h *handing) {
	for _, s := range m.world.Signals() {
		m.signalled(now, s)
	}
	if m.ending != nil {
		m.world.Return()
		m.handing = nil
		return
	}
	var processes []Process
	for _, w := range m.workers {
		processes = append(processes, w.process)
	}
	exec, err := m.world.Pass(processes, m.sockets)
	if err == nil {
		m.exec, exec.Events = exec, m.events.save()
		if m.save(); m.unsaved == "" {
			err = m.world.Exec()
		} else {
			err = fmt.Errorf("write the state down: %s", m.unsaved)
		}
		m.exec = nil
	}
	m.world.Return()
	m.stay(now, err)
}

// stay ends a handover that did not take place.
func (m *Master) stay(now time.Time, err error) {
	c := m.handing.change
	m.handing = nil
	m.conclude(now, c, control.OutcomeUndone, control.ExitUndone,
		fmt.Sprintf("upgrade refused: %v; fugue %s goes on as before", err, m.opts.Version), nil)
	m.nextChange(now)
}

// arrived is the other side of the exec.
func (m *Master) arrived(now time.Time) {
	c := m.changes.running
	if c == nil || c.Kind != kindUpgrade {
		return
	}
	m.conclude(now, c, control.OutcomeOK, control.ExitOK, fmt.Sprintf("fugue %s serves, %s taken along", m.opts.Version, count(len(m.workers), "worker")), nil)
	m.nextChange(now)
}
