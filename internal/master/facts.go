package master

import (
	"context"
	"errors"
	"fmt"
	"fugue/internal/control"
	"syscall"
	"time"

	"fugue/internal/logs"
	"fugue/internal/proc"
	"fugue/pool"
)

// launched: the worker's command runs, or err says at which step it did not
// come to that.
type launched struct {
	id  pool.ID
	err error
}

func (f launched) apply(m *Master, now time.Time) {
	w, ok := m.workers[f.id]
	if !ok {
		return
	}
	if f.err != nil {
		w.launchErr = f.err
		m.obits.add(&obituary{id: w.id, slot: w.slot, pid: w.process.PID(), generation: w.generation, launch: f.err, complete: true})
		m.of(w).Errorf("worker %d of generation %d could not be started: %v", w.slot, w.generation, f.err)
		m.events.publish(event("failed", w, f.err.Error()))
		m.pool.SpawnFailed(now, w.id)
		m.slot(w.slot).lastExit = f.err.Error()
		return
	}
	m.begun(w)
	if row, ok := m.pool.Worker(w.id); ok && row.State == pool.Starting {
		m.look(w)
	}
}

// begun says that a worker's command runs. Its first word may be here before
// the launch is known to be over.
func (m *Master) begun(w *worker) {
	if w.began {
		return
	}
	w.began = true
	m.of(w).Infof("worker %d (pid %d) of generation %d started", w.slot, w.process.PID(), w.generation)
	m.events.publish(event("spawned", w, ""))
}

// seenReady: the worker waits on our socket, or its delay is over.
type seenReady struct{ id pool.ID }

func (f seenReady) apply(m *Master, now time.Time) {
	if w, ok := m.workers[f.id]; ok {
		m.ready(now, w, "seen")
	}
}

func (m *Master) ready(now time.Time, w *worker, by string) {
	if !m.pool.Ready(now, w.id) {
		return
	}
	w.stopLooking()
	m.begun(w)
	w.readyBy, w.seenAt = by, now
	m.of(w).Infof("worker %d (pid %d) of generation %d is ready", w.slot, w.process.PID(), w.generation)
	m.events.publish(event("ready", w, by))
}

// noted: what looking at a worker that is not ready yet has seen.
type noted struct {
	id   pool.ID
	note string
}

func (f noted) apply(m *Master, _ time.Time) {
	if w, ok := m.workers[f.id]; ok {
		w.note = f.note
	}
}

// exited: the process is a zombie, and nothing of its group is left, or Reap
// says that something is; then the fact comes once more.
type exited struct{ id pool.ID }

func (f exited) apply(m *Master, now time.Time) {
	w, ok := m.workers[f.id]
	if !ok {
		return
	}
	w.stopLooking()
	exit, err := w.process.Reap()
	if errors.Is(err, proc.ErrLingers) {
		w.lingers = true
		return
	}
	delete(m.workers, f.id)
	m.lastPIDs.add(w.process.PID())
	if err != nil {
		m.of(w).Errorf("collect worker %d (pid %d): %v", w.slot, w.process.PID(), err)
		exit = proc.Exit{Unknown: true} // and not one that says exit status 0
	}
	row, living := m.pool.Worker(f.id)
	if w.orphan && row.State == pool.Starting && living {
		m.lostStarting(w, w.process.PID())
		return
	}
	asked := living && row.State == pool.Stopping
	sig := syscall.Signal(m.generations[w.generation].config.Stop.Signal)
	fate := m.pool.Exited(now, f.id, clean(exit, asked, sig))
	if w.launchErr != nil {
		return
	}
	m.hold(now, row, fate)
	m.bury(now, w, row, fate, exit.String())
	if hung := row.Why.Hung() || row.Leaving.Hung(); fate == pool.Failed || fate == pool.Died || row.Why == pool.NotReady || w.gaveUp || hung {
		b := m.obituary(w, true)
		b.exit, b.exited, b.gaveUp = exit, row.Why != pool.NotReady, w.gaveUp
	}
}

// bury says what an exit meant.
func (m *Master) bury(now time.Time, w *worker, row pool.Worker, fate pool.Fate, exit string) {
	who := fmt.Sprintf("worker %d (pid %d) of generation %d", w.slot, w.process.PID(), w.generation)
	m.events.publish(event("exited", w, exit))
	switch {
	case fate == pool.Asked && !row.Why.Hung() && !row.Leaving.Hung():
		m.of(w).Infof("%s stopped after %v: %s", who, now.Sub(row.Since).Round(time.Millisecond), exit)
		return
	case fate == pool.Clean:
		m.of(w).Infof("%s ended by itself: %s", who, exit)
	default:
		m.of(w).Warnf("%s ended: %s", who, exit)
	}
	m.slot(w.slot).restarts++
	m.slot(w.slot).lastExit = exit
}

// obituary begins to write down how a worker failed; its last lines follow
// as a fact.
func (m *Master) obituary(w *worker, ended bool) *obituary {
	if b := m.obits.find(w.id); b != nil {
		return b
	}
	b := &obituary{id: w.id, slot: w.slot, pid: w.process.PID(), generation: w.generation, note: w.note}
	m.obits.add(b)
	process := w.process
	m.tailing++
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), tailTimeout)
		defer cancel()
		m.report(tailed{w.id, process.Tail(ctx, ended)})
	}()
	if !ended {
		time.AfterFunc(tailTimeout, func() { m.report(outlasted{b}) })
	}
	return b
}

// outlasted: a worker that failed may take its time to end, or for ever where
// the stop has no timeout. The verdict does not wait for that.
type outlasted struct{ *obituary }

func (f outlasted) apply(*Master, time.Time) { f.waited = true }

// tailTimeout is how long a verdict waits for the last lines of the worker
// that it is about.
const tailTimeout = 10 * time.Second

// tailed: the last lines of a worker that failed.
type tailed struct {
	id    pool.ID
	lines []string
}

func (f tailed) apply(m *Master, _ time.Time) {
	m.tailing--
	b := m.obits.find(f.id)
	if b == nil {
		return
	}
	b.complete = true
	for _, line := range trimTail(f.lines) {
		b.stderr = append(b.stderr, logs.OneLine(line))
	}
}

// prepared: the job that makes a release has ended.
type prepared struct {
	change *change
	*Prepared
	err error
}

func (f prepared) apply(m *Master, now time.Time) {
	m.publishProgress(now) // it may have taken less than a turn, and who waits was promised a beginning
	cancelled := m.preparing.cancelled
	m.preparing = nil
	if f.err == nil && (cancelled || m.ending != nil) {
		m.abort(f.Candidate) // it was ready when the word to stop came
		f.err = context.Canceled
	}
	switch {
	case m.ending != nil:
	case cancelled && f.change.Kind == kindStart:
		m.begin(f.change) // with what the file says now
	case f.err != nil:
		m.refuse(now, f.change, f.err)
	default:
		m.install(now, f.change, f.Prepared)
	}
}

// refuse ends a change whose preparation came to nothing.
func (m *Master) refuse(now time.Time, c *change, err error) {
	exit := exitCode(err)
	if c.Kind == kindStart {
		if exit == control.ExitUndone {
			exit = control.ExitFailed // nothing served before
		}
		m.exit = &StartError{Exit: exit, Err: err}
		m.ending = &ending{decided: true}
		m.conclude(now, c, control.OutcomeFailed, exit, err.Error(), nil)
		m.abandonChanges(now, noStart)
		return
	}
	message := fmt.Sprintf("reload refused: %v; %s as before", err, m.serving())
	outcome := control.OutcomeRefused
	if errors.Is(err, context.Canceled) {
		message, outcome = fmt.Sprintf("reload cancelled; %s as before", m.serving()), control.OutcomeCancelled
	}
	if exit == control.ExitBadInput {
		message = err.Error() // its lines begin with file, line and column
	}
	m.endReload(now, c, outcome, exit, message, nil)
}
