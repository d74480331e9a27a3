package master

import (
	"fmt"
	"slices"

	"fugue/internal/control"
	"fugue/pool"
)

// What the world sees of a master must have been written down before, or a
// successor would know less than a caller, or than a worker that was told to
// stop. These are checked in every scene, at the moment that something is
// seen; close reports what was broken.

func (w *world) breaks(format string, args ...any) {
	w.broken = append(w.broken, fmt.Sprintf(format, args...))
}

// written is the state as a successor would find it now; nil if none.
func (w *world) written() *saved {
	if w.saved == nil || w.lossy {
		return nil
	}
	s, err := decode(w.saved, "web")
	if err != nil {
		w.breaks("%v", err)
		return nil
	}
	return s
}

// promisesOfAnswer: a caller hears of the end of a change.
func (w *world) promisesOfAnswer(c *control.Change) {
	if c == nil || c.State != control.ChangeDone {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.written()
	if s == nil || s.Master.LastChange-c.Number >= keptChanges-8 { // some places are kept for the last of other kinds
		return
	}
	if !slices.ContainsFunc(s.Master.Changes, func(x control.Change) bool {
		return x.Number == c.Number && x.State == control.ChangeDone && x.Outcome == c.Outcome && x.Message == c.Message
	}) {
		w.breaks("change %d has ended (%s), and the state does not know it", c.Number, c.Outcome)
	}
}

// promisesOfSignal: a worker is sent its stop signal.
func (w *world) promisesOfSignal(p *process) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if *p.told++; p.stranger || w.lossy {
		return
	}
	if *p.told > 1 {
		w.breaks("worker %d (pid %d) was told to stop %d times", p.slot, p.pid, *p.told)
	}
	if s := w.written(); s != nil && !slices.ContainsFunc(s.Workers, func(x savedWorker) bool {
		return x.PID == p.pid && x.Signalled && x.State == pool.Stopping.String()
	}) {
		w.breaks("worker %d (pid %d) was told to stop, and the state does not know it", p.slot, p.pid)
	}
	w.checkFloor(p)
}

// checkFloor: without the one that is told to stop, enough are ready.
func (w *world) checkFloor(without *process) {
	ready := 0
	for _, p := range w.processes {
		select {
		case <-p.listens:
			if *p.told == 0 && p.pid != without.pid {
				ready++
			}
		default:
		}
	}
	if ready < w.floor {
		w.breaks("with worker %d (pid %d) of generation %d stopped, %d are ready, and may not be fewer than %d", without.slot, without.pid, without.generation, ready, w.floor)
	}
}
