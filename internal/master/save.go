package master

import (
	"bytes"
	"cmp"
	"encoding/json"
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

// scribe writes the state down. What has not changed since the last time is not
// written again: of a thousand workers one line is new.
type scribe struct {
	header header
	dial   dial
	lines  map[key]*line
	turn   int
	behind bool // what was written last is not all that the lines say
}

// key names a line.
type key struct {
	part   part
	number int
}

// line is a part of the state as it was written last.
type line struct {
	from any // what it was made from, where that can be compared
	text []byte
	turn int // the last in which there was such a thing
}

func newScribe(h header, d dial) *scribe {
	return &scribe{header: h, dial: d, lines: map[key]*line{}, behind: true}
}

// save writes the state if it has changed. It comes before anything that the
// outside could see: a successor must not know less than a caller, or a
// worker that has been told to stop.
func (m *Master) save() {
	if m.scribe == nil || m.generations[m.current] == nil && !m.isEnded() {
		return // there is nothing yet to go on from
	}
	s := m.scribe
	news, err := s.update(m)
	if m.exec != nil || s.behind {
		news = nil // a program that reads only whole states may be next
	} else if len(news) == 0 && err == nil {
		return
	}
	if err == nil {
		err = m.world.Save(news, s.whole)
	}
	s.behind = err != nil
	if err != nil && m.unsaved == "" {
		m.log.Errorf("write the state down: %v; a successor of this master would go on from an older one", err)
	}
	m.unsaved = ""
	if err != nil {
		m.unsaved = err.Error()
	}
}

// update brings the lines up to date, and returns those that are new: behind the
// lines before them they say the same as all lines of today.
func (s *scribe) update(m *Master) ([]byte, error) {
	s.turn++
	out := &news{scribe: s}
	table := m.pool.Head()
	head := s.master(m, table)
	out.look(key{partMaster, 0}, record{Master: &head})
	for _, c := range m.changes.all() {
		out.look(key{partChange, c.Number}, record{Change: &c.Change})
	}
	for _, row := range table.Generations {
		if g := m.generations[row.Generation]; g != nil {
			put(out, key{partGeneration, int(row.Generation)}, g, func(g *generation) record {
				return record{Generation: &savedGeneration{
					Number: row.Generation, Config: g.config, Release: g.release, Sockets: g.sockets.Listeners(), Inbox: g.inbox,
				}}
			})
		}
	}
	for n, slot := range m.slots {
		if slot.restarts > 0 || slot.lastExit != "" {
			now := savedSlot{n, slot.restarts, slot.lastExit}
			put(out, key{partSlot, n}, now, func(now savedSlot) record { return record{Slot: &now} })
		}
	}
	for row := range m.pool.Rows {
		if w := m.workers[row.ID]; w != nil && w.process != nil { // else it has not been started yet
			put(out, key{partWorker, int(row.ID)}, s.worker(row, w), func(now savedWorker) record { return record{Worker: &now} })
		}
	}
	if m.exec != nil {
		out.look(key{partExec, 0}, record{Exec: m.exec})
	}
	for k, l := range s.lines {
		if l.turn != s.turn && out.err == nil {
			delete(s.lines, k)
			out.write(encode(record{Gone: &gone{k.part, k.number}}))
		}
	}
	return out.text, out.err
}

// news are the lines of one update that are new.
type news struct {
	*scribe
	text []byte
	err  error
}

func (n *news) write(text []byte, err error) {
	if n.err == nil {
		n.err = err
	}
	n.text = append(n.text, text...)
}

// put writes what is made from another value than the last time.
func put[T comparable](n *news, k key, from T, r func(T) record) {
	if old := n.lines[k]; old != nil {
		if was, ok := old.from.(T); ok && was == from {
			old.turn = n.turn
			return
		}
	}
	n.look(k, r(from))
	n.lines[k].from = from
}

// look writes what comes out differently.
func (n *news) look(k key, r record) {
	text, err := encode(r)
	old := n.lines[k]
	if old == nil {
		old = &line{}
		n.lines[k] = old
	}
	old.turn = n.turn
	if err != nil || !bytes.Equal(old.text, text) {
		old.text = text
		n.write(text, err)
	}
}

// whole is the state of the last update.
func (s *scribe) whole() ([]byte, error) {
	out, err := encode(s.header)
	for _, p := range []part{partMaster, partChange, partGeneration, partSlot, partWorker, partExec} {
		var numbers []int
		for k := range s.lines {
			if k.part == p {
				numbers = append(numbers, k.number)
			}
		}
		slices.Sort(numbers)
		for _, n := range numbers {
			out = append(out, s.lines[key{p, n}].text...)
		}
	}
	return out, err
}

func encode(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	return append(b, '\n'), err
}

func (s *scribe) master(m *Master, table pool.Snapshot) savedMaster {
	out := savedMaster{
		Current: m.current, Last: m.last, Leftovers: m.leftovers, Wanted: m.wanted, FileWanted: m.fileWanted,
		Paused: m.paused, Ready: m.everReady, Stuck: m.stuck, ScaleBase: m.scaleBase,
		Leaving: m.leaving() || m.afterRestart != nil, Ended: m.isEnded(),
		MaxDraining: table.MaxDraining, LastID: table.LastID,
		LastChange: m.changes.last, Dropped: m.dropped,
		Reopen: m.reopenAsked || m.reopening, Events: m.events.ceiling(),
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
	if m.rollout != nil {
		out.Rollout = saveRollout(m.rollout.Snapshot(), s.dial)
	}
	out.RecycleIDs, out.RecycleBase = m.recycling.ids, m.recycling.base
	return m.changes.save(out, s.dial)
}

// save adds the numbers of the changes under way.
func (c *changes) save(out savedMaster, d dial) savedMaster {
	number := func(ch *change) int {
		if ch == nil {
			return 0
		}
		return ch.Number
	}
	out.Running, out.Waiting, out.Scaling = number(c.running), number(c.waiting), number(c.scaling)
	out.Upgrading, out.Recycling = number(c.upgrade), number(c.recycle)
	if c.running != nil {
		out.RunningAt = d.instant(c.running.began)
	}
	for _, ch := range c.cancels {
		out.Cancels = append(out.Cancels, ch.Number)
	}
	return out
}

// all are the changes to be remembered: the last few, and those under way.
func (c *changes) all() []*change {
	all := append(slices.Clone(c.list), append(slices.Clone(c.cancels), c.running, c.upgrade, c.waiting, c.scaling, c.recycle)...)
	all = slices.DeleteFunc(all, func(ch *change) bool { return ch == nil })
	slices.SortStableFunc(all, func(a, b *change) int { return cmp.Compare(a.Number, b.Number) })
	return slices.CompactFunc(all, func(a, b *change) bool { return a.Number == b.Number })
}

func (s *scribe) worker(row pool.WorkerRow, w *worker) savedWorker {
	at := s.dial.instant
	return savedWorker{
		ID: row.ID, Slot: row.Slot, Generation: row.Generation, PID: w.process.PID(), Memo: w.memo,
		State: row.State.String(), Why: row.Why, Born: at(row.Born), Since: at(row.Since),
		ReadyBy: at(row.ReadyBy), SignalAt: at(row.SignalAt), KillAt: at(row.KillAt),
		Signalled: row.Signalled, Killed: row.Killed, Judged: row.Judged,
		Watchdog: row.Interval, Leaving: row.Leaving, Due: row.Due,
		Sent: w.sent, GaveUp: w.gaveUp, Status: w.status, Word: w.readyBy,
		SeenAt: at(w.seenAt), LateWord: w.lateWord,
	}
}

// restore takes up the changes of a predecessor, all but their callers.
func (c *changes) restore(in savedMaster, d dial) {
	c.last = in.LastChange
	byNumber := map[int]*change{}
	for _, saved := range in.Changes {
		ch := &change{Change: saved, began: saved.Started}
		byNumber[ch.Number] = ch
		c.list = append(c.list, ch)
		c.last = max(c.last, ch.Number)
	}
	c.trim()
	c.running, c.waiting, c.scaling = byNumber[in.Running], byNumber[in.Waiting], byNumber[in.Scaling]
	c.upgrade, c.recycle = byNumber[in.Upgrading], byNumber[in.Recycling]
	if in.RunningAt != 0 && c.running != nil { // else it was written down before there was such a thing
		c.running.began = d.time(in.RunningAt)
	}
	for _, n := range in.Cancels {
		if ch := byNumber[n]; ch != nil && ch.State != control.ChangeDone {
			c.cancels = append(c.cancels, ch)
		}
	}
}
