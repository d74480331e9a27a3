package master

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/prometheus/procfs"

	"fugue/activation"
	"fugue/internal/control"
	"fugue/pool"
)

// Status implements control.Pool. What the loop knows is copied there; what
// must be read from /proc is read here, where nobody waits for it.
func (m *Master) Status(ctx context.Context) (control.Status, error) {
	var s control.Status
	if err := m.ask(ctx, func(m *Master, now time.Time) { s = m.status(now) }); err != nil {
		return s, err
	}
	for i := range s.Workers {
		measure(&s.Workers[i])
	}
	return s, nil
}

// measure reads what a worker uses. One that is gone by now uses nothing.
func measure(w *control.Worker) {
	p, err := procfs.NewProc(w.PID)
	if err != nil {
		return
	}
	if stat, err := p.Stat(); err == nil {
		w.RSS = uint64(stat.ResidentMemory())
		w.CPU = control.Micros(stat.CPUTime() * float64(time.Second))
	}
}

func (m *Master) status(now time.Time) control.Status {
	state, reason := m.state()
	s := control.Status{
		Pool: m.opts.Name, Version: m.opts.Version, PID: os.Getpid(), Unit: m.opts.Unit,
		State: state, Reason: reason, Generation: int(m.current), Wanted: m.wanted,
		Ready: m.pool.Total().Ready, Since: today(now, m.published.since), Strangers: m.dropped,
		Change: m.latest(), Workers: m.statusWorkers(now),
	}
	if g := m.generations[m.current]; g != nil {
		s.Config = g.config.Path
		s.Notes = m.notes()
	}
	if c := m.changes.waiting; c != nil {
		waiting := c.Change
		s.Waiting = &waiting
	}
	if m.sockets != nil {
		for i, l := range m.sockets.Listeners() {
			listener := statusListener(l, firstFD+i)
			if m.refusing.on && l.Refusable() {
				listener.Note = "refuses connections: no worker is left"
			}
			s.Listeners = append(s.Listeners, listener)
		}
	}
	return s
}

// firstFD is the number of the first listener in a worker: sd_listen_fds(3).
const firstFD = 3

func (m *Master) latest() *control.Change {
	if c := m.changes.running; c != nil {
		running := c.Change
		return &running
	}
	if n := len(m.changes.list); n > 0 {
		last := m.changes.list[n-1].Change
		return &last
	}
	return nil
}

// today is the time of day of something that has happened, by the clock as it is
// set now; now if it has not. What it was then would be hours ago, or still to
// come, to whoever reckons with it after the clock was set.
func today(now, t time.Time) time.Time {
	if t.IsZero() {
		return now
	}
	return now.Round(0).Add(-now.Sub(t))
}

func (m *Master) statusWorkers(now time.Time) []control.Worker {
	var list []control.Worker
	for _, row := range m.pool.Workers() {
		w := control.Worker{
			Slot: row.Slot, PID: row.PID, Generation: int(row.Generation),
			State: row.State.String(), Since: today(now, row.Born),
			Restarts: m.slot(row.Slot).restarts, LastExit: m.slot(row.Slot).lastExit,
		}
		switch {
		case row.State == pool.Stopping:
			w.Note = row.Why.String()
		case row.Leaving != pool.Wanted:
			w.Note = row.Leaving.String() + "; another is to take its place first"
		case m.pool.Due(row.ID) != pool.Wanted:
			w.Note = "is to be recycled"
		}
		if out := m.workers[row.ID]; out != nil {
			w.Status = out.status
			w.Memory, w.MemoryFrom = out.weight.Bytes, string(out.weight.From)
			if row.State != pool.Stopping && row.Leaving == pool.Grown {
				w.Note = leavingText(out, row.Leaving) + "; another is to take its place first"
			}
			switch {
			case row.State == pool.Starting:
				w.Note = out.note
			case out.lateWord:
				w.Note = "said READY=1 after it was seen listening; [ready] when = \"notify\" would wait for its word"
			}
		}
		list = append(list, w)
	}
	return list
}

func statusListener(l activation.Listener, fd int) control.Listener {
	s := control.Listener{Name: l.Name, Address: l.Address, Network: l.Network, Origin: string(l.Origin), FD: fd}
	queue, limit, err := activation.Queue(l)
	s.Queue, s.Limit = queue, limit
	if err != nil {
		s.Note = err.Error()
	}
	return s
}

// notes are what a person should know and would not see otherwise.
func (m *Master) notes() []string {
	var notes []string
	if n := len(m.strangers); n > 0 {
		notes = append(notes, fmt.Sprintf("%s of a predecessor not yet ended", count(n, "process")))
	}
	if m.wanted != m.fileWanted {
		notes = append(notes, fmt.Sprintf("scaled to %d; the configuration says %d", m.wanted, m.fileWanted))
	}
	if m.unsaved != "" {
		notes = append(notes, "the state cannot be written down ("+m.unsaved+"): a successor would go on from an older one")
	}
	if m.storeShort != "" {
		notes = append(notes, m.storeShort)
	}
	return append(notes, m.world.Complaints()...)
}

// state is what the pool is doing, and why if that is not well.
func (m *Master) state() (state, reason string) {
	g := m.generations[m.current]
	running := m.changes.running
	switch {
	case m.ending != nil:
		return control.StateStopping, ""
	case running != nil && running.Kind == kindReload:
		return control.StateReloading, m.stuck
	case g == nil || running != nil:
		return control.StateStarting, ""
	case m.stuck != "":
		return control.StateDegraded, m.stuck
	case m.aim() == 0 && m.paused:
		return control.StateEmpty, "all workers were stopped by SIGWINCH"
	}
	ready := m.pool.Total().Ready
	if m.empty() {
		what := ", and connections wait"
		if m.refusing.on {
			what = ", refusing connections"
		}
		return control.StateDegraded, "no worker is left" + what + m.lastFailure()
	}
	if ready < m.least(g) && m.pool.Failing(m.current) {
		return control.StateDegraded, fmt.Sprintf("%d of %s ready", ready, count(m.aim(), "worker")) + m.lastFailure()
	}
	return control.StateRunning, ""
}

// lastFailure names the worker that failed last.
func (m *Master) lastFailure() string {
	f := m.pool.Failures(m.current).Last
	b := m.obits.find(f.ID)
	if b == nil {
		return ""
	}
	return ": " + b.sentence(f, m.generations[m.current].config)
}
