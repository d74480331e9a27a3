package master

import (
	"slices"
	"strconv"
	"time"

	"fugue/internal/cgroup"
	"fugue/internal/logs"
	"fugue/internal/notify"
	"fugue/pool"
)

// datagram: somebody wrote to the notify inbox.
type datagram struct{ notify.Message }

func (f datagram) apply(m *Master, now time.Time) {
	switch f.Mark {
	case notify.Datagram:
	case notify.Synced:
		m.synced(now)
		return
	default:
		return
	}
	w := m.sender(f.PID, f.Lineage, f.Cgroup)
	if w == nil || f.BadReason != "" {
		// A predecessor's worker still says how it is, and one of ours may have said
		// its last word, "STOPPING=1", just before its end.
		if m.strangers[f.PID] == nil && !m.lastPIDs.has(f.PID, f.Lineage) {
			m.drop(now, f.Message)
		}
		return
	}
	g := m.generations[w.generation]
	if text, ok := f.Fields["STATUS"]; ok {
		w.status = logs.OneLine(text)
	}
	if us, err := strconv.ParseUint(f.Fields["EXTEND_TIMEOUT_USEC"], 10, 52); err == nil {
		m.pool.Extend(now, w.id, time.Duration(us)*time.Microsecond) // and systemd waits for us as we for the worker
	}
	m.watchdogWord(now, w, f.Fields)
	if f.Fields["READY"] == "1" && g.wordCounts() {
		if w.readyBy == "seen" && now.Sub(w.seenAt) > lateWord {
			w.lateWord = true
		}
		m.ready(now, w, "READY=1")
	}
	if f.Fields["STOPPING"] == "1" {
		if row, ok := m.pool.Worker(w.id); ok && row.State != pool.Stopping {
			m.of(w).Infof("worker %d (pid %d) of generation %d is stopping by itself", w.slot, w.process.PID(), w.generation)
			before := m.pool.Failures(w.generation).Starts
			m.pool.Unready(now, w.id)
			w.gaveUp = m.pool.Failures(w.generation).Starts > before
		}
	}
}

// lastPIDs are the process IDs of the workers that ended last. What they wrote
// is of no use any more, and comes from no stranger.
type lastPIDs []int

// mostLastPIDs is more than can end between two looks at the inbox.
const mostLastPIDs = 256

func (l *lastPIDs) add(pid int) {
	if len(*l) == mostLastPIDs {
		*l = slices.Delete(*l, 0, 1)
	}
	*l = append(*l, pid)
}

// has reports that one of them is the process, or one that had started it.
func (l lastPIDs) has(pid int, lineage []int) bool {
	return slices.Contains(l, pid) || slices.ContainsFunc(lineage, func(pid int) bool { return slices.Contains(l, pid) })
}

// dropSilence is how long after a word about a dropped datagram the next ones
// are only counted: a flood must not fill the log.
const dropSilence = time.Minute

// drop counts a datagram that nobody wanted, and says so now and then.
func (m *Master) drop(now time.Time, d notify.Message) {
	m.dropped++
	if m.dropped > 1 && now.Sub(m.dropSaid) < dropSilence {
		return
	}
	m.dropSaid = now
	why := "it belongs to no worker"
	if d.BadReason != "" {
		why = logs.OneLine(d.BadReason)
	}
	m.log.Warnf("dropped a notification of process %d (uid %d): %s", d.PID, d.UID, why)
}

// lateWord is how much later than it was seen listening a worker has to say
// READY=1 for that to be worth a word: until then it may have answered before
// it was able to.
const lateWord = 100 * time.Millisecond

// sender finds the worker that a process belongs to: itself, its group, its
// session, one of its ancestors, or the cgroup that it is in, which is the one
// thing that nobody can leave behind.
func (m *Master) sender(pid int, lineage []int, in string) *worker {
	byPID := func(pid int) *worker {
		for _, w := range m.workers {
			if w.process.PID() == pid {
				return w
			}
		}
		return nil
	}
	if w := byPID(pid); w != nil {
		return w
	}
	for _, pid := range lineage {
		if w := byPID(pid); w != nil {
			return w
		}
	}
	for _, w := range m.workers {
		if cgroup.Within(in, w.process.Memo().Cgroup) {
			return w
		}
	}
	return nil
}
