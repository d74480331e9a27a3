package master

import (
	"context"
	"errors"
	"fmt"
	"time"

	"fugue/internal/control"
)

// maxWorkers is more than any machine runs; beyond it a scale is a slip of
// the keyboard.
const maxWorkers = 10_000

// The methods below are control.Pool. They may be called from any goroutine:
// each hands the loop a question as a fact and waits for the answer.
var _ control.Pool = (*Master)(nil)

// errEnded is the answer of a master whose loop is over.
var errEnded = errors.New("the pool has stopped")

// call is a question to the loop.
type call struct {
	do   func(m *Master, now time.Time)
	done chan struct{}
}

func (c call) apply(m *Master, now time.Time) {
	c.do(m, now)
	m.answers = append(m.answers, c.done)
}

// ask runs do on the loop and waits for it.
func (m *Master) ask(ctx context.Context, do func(m *Master, now time.Time)) error {
	c := call{do: do, done: make(chan struct{})}
	select {
	case m.facts <- c:
		<-c.done
		return nil
	case <-m.ended:
		return errEnded
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ticket asks for a change and follows it.
func (m *Master) ticket(ctx context.Context, do func(m *Master, now time.Time) (*change, error)) (control.Ticket, error) {
	var t control.Ticket
	var refused error
	err := m.ask(ctx, func(m *Master, now time.Time) {
		c, err := do(m, now)
		switch {
		case err != nil:
			refused = err
		case c == nil:
			refused = control.Errorf(control.ExitUndone, "the pool is being stopped")
		default:
			t = c.join()
		}
	})
	return t, errors.Join(err, refused)
}

// Reload implements control.Pool.
func (m *Master) Reload(ctx context.Context, r control.ReloadRequest) (control.Ticket, error) {
	return m.ticket(ctx, func(m *Master, now time.Time) (*change, error) {
		if running := m.changes.running; r.NoWait && !r.Now && running != nil {
			return nil, control.Errorf(control.ExitBusy, "a %s is under way (change %d); wait for it, or ask without --no-wait", running.Kind, running.Number)
		}
		return m.reload(now, r.Now, r.Unit), nil
	})
}

// Cancel implements control.Pool.
func (m *Master) Cancel(ctx context.Context) (control.Ticket, error) {
	return m.ticket(ctx, func(m *Master, now time.Time) (*change, error) {
		if running := m.changes.running; running == nil || running.Kind != kindReload {
			return nil, control.Errorf(control.ExitFailed, "no reload is under way")
		}
		c := m.changes.open(kindCancel, now)
		m.changes.cancels = append(m.changes.cancels, c)
		m.cancel(now)
		return c, nil
	})
}

// Scale implements control.Pool.
func (m *Master) Scale(ctx context.Context, r control.ScaleRequest) (control.Ticket, error) {
	return m.ticket(ctx, func(m *Master, now time.Time) (*change, error) {
		n := r.N
		if r.Relative {
			n += m.wanted
		}
		if n < 0 || n > maxWorkers {
			return nil, control.Errorf(control.ExitUsage, "scale to %d: it must be between 0 and %d", n, maxWorkers)
		}
		if m.generations[m.current] == nil {
			return nil, control.Errorf(control.ExitBusy, "the pool is still reading its configuration; try again")
		}
		return m.scale(now, n), nil
	})
}

// Upgrade implements control.Pool.
func (m *Master) Upgrade(ctx context.Context) (control.Ticket, error) {
	return m.ticket(ctx, func(m *Master, now time.Time) (*change, error) { return m.upgrade(now), nil })
}

// Stop implements control.Pool.
func (m *Master) Stop(ctx context.Context) (control.Ticket, error) {
	return m.ticket(ctx, func(m *Master, now time.Time) (*change, error) {
		if m.opts.Unit != "" {
			return nil, control.Errorf(control.ExitFailed, "systemd runs this pool and would start it again; use: systemctl stop %s", m.opts.Unit)
		}
		if m.ending != nil { // to ask once more does not kill, a second signal does
			return m.ending.change, nil
		}
		return m.stop(now, "asked on the control socket", true), nil
	})
}

// Change implements control.Pool.
func (m *Master) Change(ctx context.Context, number int) (control.Change, error) {
	var found *control.Change
	err := m.ask(ctx, func(m *Master, _ time.Time) {
		if c := m.changes.find(number); c != nil {
			copied := c.Change
			found = &copied
		}
	})
	switch {
	case err != nil:
		return control.Change{}, err
	case found == nil:
		return control.Change{}, fmt.Errorf("change %d: %w", number, control.ErrNotFound)
	}
	return *found, nil
}

// Events implements control.Pool.
func (m *Master) Events(ctx context.Context, after int) (control.Ticket, error) {
	var f *follower
	var last int
	if err := m.ask(ctx, func(m *Master, _ time.Time) { f, last = m.events.follow(after), m.events.last }); err != nil {
		return control.Ticket{}, err
	}
	context.AfterFunc(ctx, func() { m.report(unfollow{f}) })
	return control.Ticket{Events: f.events, Last: last}, nil
}

// unfollow: a follower has gone.
type unfollow struct{ *follower }

func (f unfollow) apply(m *Master, _ time.Time) { m.events.unfollow(f.follower) }

// OwnsProcess reports whether a process is a worker or one of its
// descendants; such are no peers for the control socket, whatever their uid.
// When the loop is over it is not known: that is the error.
func (m *Master) OwnsProcess(pid int, lineage []int, cgroup string) (owned bool, err error) {
	err = m.ask(context.Background(), func(m *Master, _ time.Time) {
		owned = m.sender(pid, lineage, cgroup) != nil
		if owned {
			m.dropped++
		}
	})
	return owned, err
}
