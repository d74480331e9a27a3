package master

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"fugue/activation"
	"fugue/internal/config"
	"fugue/pool"
)

// refusing is what has become of our listeners while no worker is left.
type refusing struct {
	on     bool            // they are shut down: who connects is refused at once
	failed string          // why they could not be shut down, or opened again; said once
	said   pool.Generation // of which it was said which ones hold connections all the same
}

// turnAway shuts the listeners down while nobody is there to serve, and nobody on
// the way, where that is wanted. A preparation works with the sockets, and may
// be what brings workers back: connections wait for it.
func (m *Master) turnAway() {
	if m.ending != nil {
		return // what is shut down then is closed, or a successor's to open
	}
	wanted := len(m.workers)+len(m.spawns) == 0 && m.preparing == nil && m.empty() &&
		m.generations[m.current].config.WhenEmpty == config.EmptyRefuse
	r := &m.refusing
	switch {
	case wanted && !r.on:
		var refused, held []string
		var errs []error
		for _, l := range m.sockets.Listeners() {
			switch {
			case l.Refusable():
				refused = append(refused, l.Name)
				errs = append(errs, activation.Refuse(l))
			case l.Stream():
				held = append(held, l.Name)
			}
		}
		r.on = len(refused) > 0
		m.refusalFailed(errors.Join(errs...))
		if r.said != m.current {
			r.said = m.current
			m.sayRefusal(refused, held)
		}
	case !wanted && r.on:
		m.refusalFailed(m.letIn())
	}
}

func (m *Master) sayRefusal(refused, held []string) {
	if len(refused) > 0 {
		m.log.Warnf("no worker is left: connections to %s are refused until one is started", strings.Join(refused, ", "))
	}
	if len(held) > 0 {
		m.log.Warnf("no worker is left: connections to %s wait; only TCP sockets that fugue bound can refuse them (when_empty = %q)", strings.Join(held, ", "), config.EmptyRefuse)
	}
}

func (m *Master) refusalFailed(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != "" && text != m.refusing.failed {
		m.log.Error(text)
	}
	m.refusing.failed = text
}

// letIn opens the listeners again: before a worker is started, which must not
// meet one that is shut down.
func (m *Master) letIn() error {
	if !m.refusing.on {
		return nil
	}
	var errs []error
	for _, l := range m.sockets.Listeners() {
		if l.Refusable() {
			errs = append(errs, activation.Revive(l))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("accept connections again: %w", err)
	}
	m.refusing.on = false
	return nil
}

// takeOverRefusal opens what a predecessor may have shut down.
func (m *Master) takeOverRefusal() {
	m.refusing.on = true
	m.refusalFailed(m.letIn())
}

// unstarted books a worker whose process could not be made.
func (m *Master) unstarted(now time.Time, a pool.Action, err error) {
	m.obits.add(&obituary{id: a.ID, slot: a.Slot, generation: a.Generation, launch: err, complete: true})
	m.pool.SpawnFailed(now, a.ID)
	about(m.log, a.Slot, a.Generation).Errorf("worker %d of generation %d could not be started: %v", a.Slot, a.Generation, err)
}
