package master

import (
	"context"
	"slices"
	"time"

	"fugue/internal/control"
	"fugue/pool"
)

// recycling is a recycle that was asked for: which workers it is about, and how
// many failures there had been when it began. The pool replaces them, one after
// another; here is only who waits for it.
type recycling struct {
	ids  []pool.ID
	base int
}

// Recycle implements control.Pool.
func (m *Master) Recycle(ctx context.Context, r control.RecycleRequest) (control.Ticket, error) {
	return m.ticket(ctx, func(m *Master, now time.Time) (*change, error) { return m.recycle(now, r.Slots) })
}

func (m *Master) recycle(now time.Time, slots []int) (*change, error) {
	switch running := m.changes.running; {
	case m.ending != nil:
		return nil, nil
	case running != nil:
		return nil, control.Errorf(control.ExitBusy, "a %s is under way (change %d); wait for it, and ask again if it is still needed", running.Kind, running.Number)
	case m.changes.recycle != nil:
		return nil, control.Errorf(control.ExitBusy, "a recycle is under way (change %d); wait for it", m.changes.recycle.Number)
	}
	if len(m.leftovers) > 0 {
		// What is ready of either generation may be all that there will be.
		return nil, control.Errorf(control.ExitFailed, "the pool is stuck between two generations, where nobody is replaced; mend the release and reload")
	}
	ids, err := m.toRecycle(slots)
	if err != nil {
		return nil, err
	}
	c := m.changes.open(kindRecycle, now)
	m.changes.recycle, m.recycling = c, recycling{ids, m.pool.Failures(m.current).Total()}
	for _, id := range ids {
		m.pool.Recycle(id, pool.ByHand)
	}
	m.log.Infof("recycle %d: replacing %s, one after another", c.Number, count(len(ids), "worker"))
	return c, nil
}

// toRecycle finds the workers in these slots; all for none.
func (m *Master) toRecycle(slots []int) (ids []pool.ID, err error) {
	for _, row := range m.pool.Workers() {
		if row.State != pool.Stopping && (len(slots) == 0 || slices.Contains(slots, row.Slot)) {
			ids = append(ids, row.ID)
		}
	}
	for _, slot := range slots {
		if !slices.ContainsFunc(ids, func(id pool.ID) bool { w, _ := m.pool.Worker(id); return w.Slot == slot }) {
			return nil, control.Errorf(control.ExitFailed, "there is no worker in slot %d that could be replaced", slot)
		}
	}
	return ids, nil
}

// endRecycle ends a recycle when nobody is left whom it was about, or a worker
// has failed meanwhile, or a reload replaces all of them anyway. Those who have
// not been replaced then stay.
func (m *Master) endRecycle(now time.Time) {
	r, c := m.recycling, m.changes.recycle
	if c == nil {
		return
	}
	left := 0
	for _, id := range r.ids {
		if w, living := m.pool.Worker(id); living && w.State != pool.Stopping {
			left++
		}
	}
	failures := m.pool.Failures(m.current)
	switch {
	case left == 0:
		m.concludeRecycle(now, control.OutcomeOK, control.ExitOK, count(len(r.ids), "worker")+" replaced", nil)
	case m.rollout != nil:
		m.concludeRecycle(now, control.OutcomeCancelled, control.ExitUndone, "cancelled: a reload replaces all workers", nil)
	case failures.Total() > r.base:
		why, details, ready := m.verdict(c.blames(failures.Last), m.generations[m.current])
		if ready {
			m.concludeRecycle(now, control.OutcomeFailed, control.ExitFailed, why+"; "+count(left, "worker")+" not replaced, which serves on as before", details)
		}
	}
}

func (m *Master) concludeRecycle(now time.Time, outcome string, exit int, message string, details []string) {
	c := m.changes.recycle
	for _, id := range m.recycling.ids {
		m.pool.Spare(id)
	}
	m.recycling = recycling{}
	m.conclude(now, c, outcome, exit, message, details)
}
