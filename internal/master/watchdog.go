package master

import (
	"strconv"
	"syscall"
	"time"

	"fugue/internal/config"
	"fugue/internal/control"
	"fugue/pool"
)

// syncing is the question to the inboxes whether they have been read to the
// end. A worker's ping may be in one, behind what others have sent: it is late
// only if it is not there either.
type syncing struct {
	left int       // answers still to come; 0: nothing is asked
	at   time.Time // when it was asked
}

// listen asks, if a worker is overdue. On the way to an exec nobody is read
// any more, and the workers have a whole interval after it.
func (m *Master) listen(now time.Time) {
	if m.syncing.left > 0 || m.departing || !m.pool.Overdue() {
		return
	}
	m.syncing = syncing{m.world.Sync(), now}
}

// synced: an inbox has been read as far as it was filled when it was asked.
func (m *Master) synced(now time.Time) {
	if m.syncing.left == 0 {
		return
	}
	m.syncing.left--
	if m.syncing.left == 0 {
		m.pool.Heard(now, m.syncing.at)
	}
}

// watchdogWord is what a worker says to its watchdog, as in sd_notify(3).
func (m *Master) watchdogWord(now time.Time, w *worker, fields map[string]string) {
	switch fields["WATCHDOG"] {
	case "1":
		m.pool.Alive(now, w.id)
	case "trigger":
		m.pool.Hang(now, w.id, pool.Triggered)
	}
	if us, err := strconv.ParseUint(fields["WATCHDOG_USEC"], 10, 52); err == nil {
		m.pool.Watch(now, w.id, time.Duration(us)*time.Microsecond)
	}
}

// abortSignal ends a worker that hangs. A configuration that an older program
// wrote down names none.
func abortSignal(cfg *config.Config) syscall.Signal {
	if cfg.Watchdog.Signal == 0 {
		return syscall.SIGABRT
	}
	return syscall.Signal(cfg.Watchdog.Signal)
}

// publishLeaving says of a worker that it stays only until another has come.
func (m *Master) publishLeaving(row pool.Worker) {
	w := m.workers[row.ID]
	if w == nil || row.State == pool.Stopping || row.Leaving == w.leaving {
		return
	}
	before := w.leaving
	w.leaving = row.Leaving
	who := control.Event{Slot: w.slot, PID: w.process.PID(), Generation: int(w.generation)}
	switch {
	case row.Leaving.Hung():
		who.Kind, who.Text = "hung", row.Leaving.String()
		m.of(w).Warnf("worker %d (pid %d) of generation %d hangs: %s; it is ended when another has taken its place", w.slot, who.PID, w.generation, row.Leaving)
	case row.Leaving.Recycled():
		who.Kind, who.Text = "recycling", leavingText(w, row.Leaving)
		m.of(w).Infof("worker %d (pid %d) of generation %d is to be replaced: %s", w.slot, who.PID, w.generation, who.Text)
	default:
		who.Kind, who.Text = "spared", before.String()
		m.of(w).Infof("worker %d (pid %d) of generation %d stays for now", w.slot, who.PID, w.generation)
	}
	m.events.publish(who)
}
