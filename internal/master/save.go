package master

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"fugue/internal/control"
	"fugue/pool"
)

// Clock tells the time of the kernel's monotonic clock.
type Clock func() time.Duration

// dial translates between the loop's times and instants. It is set once: two
// readings of two clocks are never quite the same, and a worker that has not
// changed must be written as it was.
type dial struct {
	at   time.Time
	mono time.Duration
}

func newDial(clock Clock) dial { return dial{time.Now(), clock()} }

func (d dial) instant(t time.Time) instant {
	if t.IsZero() {
		return 0
	}
	return instant(d.mono + t.Sub(d.at))
}

func (d dial) time(i instant) time.Time {
	if i == 0 {
		return time.Time{}
	}
	return d.at.Add(time.Duration(i) - d.mono)
}

// scribe writes the state down. What has not changed since the last time is
// not encoded again: of a thousand workers one line is new.
type scribe struct {
	header      header
	dial        dial
	generations map[pool.Generation][]byte
	workers     map[pool.ID]*savedLine
	last        []byte // what was written
	turn        int
}

type savedLine struct {
	worker savedWorker
	line   []byte
	turn   int // the last in which the worker lived
}

func newScribe(h header, d dial) *scribe {
	return &scribe{header: h, dial: d, generations: map[pool.Generation][]byte{}, workers: map[pool.ID]*savedLine{}}
}

// save writes the state if it has changed. It comes before anything that the
// outside could see: a successor must not know less than a caller, or a
// worker that has been told to stop.
func (m *Master) save() {
	if m.scribe == nil || m.generations[m.current] == nil && !m.isEnded() {
		return // there is nothing yet to go on from
	}
	b, err := m.scribe.encode(m)
	if err == nil && !bytes.Equal(b, m.scribe.last) {
		if err = m.world.Save(b); err == nil {
			m.scribe.last = b
		}
	}
	if err != nil && m.unsaved == "" {
		m.log.Errorf("write the state down: %v; a successor of this master would go on from an older one", err)
	}
	m.unsaved = ""
	if err != nil {
		m.unsaved = err.Error()
	}
}

func (s *scribe) encode(m *Master) ([]byte, error) {
	var out bytes.Buffer
	out.Grow(len(s.last) + 4096)
	var first error
	line := func(v any) []byte {
		b, err := json.Marshal(v)
		if err != nil && first == nil {
			first = err
		}
		return append(b, '\n')
	}
	out.Write(line(s.header))
	table := m.pool.Snapshot()
	head := s.master(m, table)
	out.Write(line(record{Master: &head}))
	for g := range s.generations {
		if m.generations[g] == nil {
			delete(s.generations, g)
		}
	}
	for _, row := range table.Generations {
		g := m.generations[row.Generation]
		if g == nil {
			continue
		}
		if s.generations[row.Generation] == nil {
			s.generations[row.Generation] = line(record{Generation: &savedGeneration{
				Number: row.Generation, Config: g.config, Release: g.release, Sockets: g.sockets.Listeners(), Inbox: g.inbox,
			}})
		}
		out.Write(s.generations[row.Generation])
	}
	s.turn++
	lines := 0
	for _, row := range table.Workers {
		w := m.workers[row.ID]
		if w == nil || w.process == nil {
			continue // it has not been started yet
		}
		now := s.worker(row, w)
		old := s.workers[row.ID]
		if old == nil || old.worker != now {
			old = &savedLine{worker: now, line: line(record{Worker: &now})}
			s.workers[row.ID] = old
		}
		old.turn = s.turn
		lines++
		out.Write(old.line)
	}
	if lines < len(s.workers) {
		maps.DeleteFunc(s.workers, func(_ pool.ID, l *savedLine) bool { return l.turn != s.turn })
	}
	if m.exec != nil {
		out.Write(line(record{Exec: m.exec}))
	}
	return out.Bytes(), first
}

func (s *scribe) master(m *Master, table pool.Snapshot) savedMaster {
	out := savedMaster{
		Current: m.current, Last: m.last, Leftovers: m.leftovers, Wanted: m.wanted, FileWanted: m.fileWanted,
		Paused: m.paused, Ready: m.everReady, Stuck: m.stuck, ScaleBase: m.scaleBase,
		Leaving: m.leaving() || m.afterRestart != nil, Ended: m.isEnded(),
		MaxDraining: table.MaxDraining, LastID: table.LastID,
		LastChange: m.changes.last, Dropped: m.dropped,
	}
	for _, row := range table.Generations {
		g := m.generations[row.Generation]
		if g == nil {
			continue
		}
		out.Table = append(out.Table, savedTarget{
			Generation: row.Generation, Limits: row.Limits, Target: row.Target, Failures: row.Failures,
			Streak: row.Streak, FailedAt: s.dial.instant(row.FailedAt), Before: g.before, Asked: g.asked,
		})
	}
	for _, n := range slices.Sorted(maps.Keys(m.slots)) {
		if slot := m.slots[n]; slot.restarts > 0 || slot.lastExit != "" {
			out.Slots = append(out.Slots, savedSlot{n, slot.restarts, slot.lastExit})
		}
	}
	if m.rollout != nil {
		out.Rollout = saveRollout(m.rollout.Snapshot(), s.dial)
	}
	return m.changes.save(out)
}

// save adds the changes: the last few, and those under way.
func (c *changes) save(out savedMaster) savedMaster {
	number := func(ch *change) int {
		if ch == nil {
			return 0
		}
		return ch.Number
	}
	seen := map[int]bool{}
	for _, ch := range append(slices.Clone(c.list), append(slices.Clone(c.cancels), c.running, c.upgrade, c.waiting, c.scaling)...) {
		if ch != nil && !seen[ch.Number] {
			seen[ch.Number] = true
			out.Changes = append(out.Changes, ch.Change)
		}
	}
	out.Running, out.Waiting, out.Scaling = number(c.running), number(c.waiting), number(c.scaling)
	out.Upgrading = number(c.upgrade)
	for _, ch := range c.cancels {
		out.Cancels = append(out.Cancels, ch.Number)
	}
	return out
}

func (s *scribe) worker(row pool.WorkerRow, w *worker) savedWorker {
	at := s.dial.instant
	return savedWorker{
		ID: row.ID, Slot: row.Slot, Generation: row.Generation, PID: w.process.PID(), Memo: w.memo,
		State: row.State.String(), Why: row.Why, Born: at(row.Born), Since: at(row.Since),
		ReadyBy: at(row.ReadyBy), SignalAt: at(row.SignalAt), KillAt: at(row.KillAt),
		Signalled: row.Signalled, Killed: row.Killed, Judged: row.Judged,
		Sent: w.sent, GaveUp: w.gaveUp, Status: w.status, Word: w.readyBy,
		SeenAt: at(w.seenAt), LateWord: w.lateWord,
	}
}

// restore takes up the changes of a predecessor, all but their callers.
func (c *changes) restore(in savedMaster) {
	c.last = in.LastChange
	byNumber := map[int]*change{}
	for _, saved := range in.Changes {
		ch := &change{Change: saved}
		byNumber[ch.Number] = ch
		c.list = append(c.list, ch)
		c.last = max(c.last, ch.Number)
	}
	if n := len(c.list); n > keptChanges {
		c.list = c.list[n-keptChanges:]
	}
	c.running, c.waiting, c.scaling = byNumber[in.Running], byNumber[in.Waiting], byNumber[in.Scaling]
	c.upgrade = byNumber[in.Upgrading]
	for _, n := range in.Cancels {
		if ch := byNumber[n]; ch != nil && ch.State != control.ChangeDone {
			c.cancels = append(c.cancels, ch)
		}
	}
}
