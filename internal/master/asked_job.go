package master

import (
	"context"
	"time"

	"fugue/internal/control"
	"fugue/internal/systemd"
)

// Job implements control.Pool: who may ask systemd tells us, who may not, what
// it is doing to our unit.
func (m *Master) Job(ctx context.Context, r control.JobRequest) (control.Ticket, error) {
	return m.ticket(ctx, func(m *Master, now time.Time) (*change, error) {
		if m.opts.Unit == "" {
			return nil, control.Errorf(control.ExitUndone, "systemd does not run this pool and has no job for it; use: fugue stop %s", m.opts.Name)
		}
		return m.fateAnswered(now, r), nil
	})
}

// fateAnswered begins the end, if it has not begun, with the answer already
// known. One that is decided stays as it is.
func (m *Master) fateAnswered(now time.Time, r control.JobRequest) *change {
	if m.ending == nil {
		m.stop(now, "told of systemd's job", false)
	}
	fate := systemd.Replaced
	switch {
	case r.Fate == "stop":
		fate = systemd.Stopped
	case r.Leave:
		fate = systemd.Left
	}
	fateKnown{fate: fate}.apply(m, now)
	return m.ending.change
}
