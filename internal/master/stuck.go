package master

import (
	"time"

	"fugue/internal/unread"
	"fugue/pool"
)

// reading is the search for workers that leave accepted connections unread. It
// is the only thing that a master at rest is woken for, and only where the
// configuration asks for it.
type reading struct {
	next    time.Time
	running bool // a look is under way
	failed  bool // the last one was, and that has been said
	tracker unread.Tracker
}

// UnreadLook is one look at the connections of workers.
type UnreadLook struct {
	Tracker   *unread.Tracker // of nobody else until the look is over
	Listeners []unread.Listener
	Leaders   []int // process IDs of workers
	Limit     time.Duration
	Gap       time.Duration // what comes later than this after the last is the first again
}

// looksPerLimit is how often it is looked within the time that a connection may
// wait: it is found a quarter late at most.
const looksPerLimit = 4

// lookUnread begins the next look when it is due, and says when that is.
func (m *Master) lookUnread(now time.Time) time.Time {
	r := &m.reading
	look := m.unreadLook()
	switch {
	case len(look.Leaders) == 0 || m.ending != nil && m.ending.decided:
		r.next = time.Time{}
		return time.Time{}
	case r.running:
		return time.Time{}
	case r.next.IsZero():
		r.next = now
	}
	every := look.Limit / looksPerLimit
	if now.Before(r.next) {
		return r.next
	}
	r.running, r.next = true, now.Add(every)
	look.Tracker, look.Gap = &r.tracker, 2*every
	go func() {
		held, err := m.world.Unread(look)
		m.report(unreadFound{held, err})
	}()
	return time.Time{}
}

// unreadLook is what there is to look at: the workers of releases that want it.
func (m *Master) unreadLook() UnreadLook {
	var look UnreadLook
	if !m.wantsLooks() {
		return look
	}
	seen := map[uint64]bool{}
	for _, row := range m.pool.Workers() {
		g := m.generations[row.Generation]
		if g == nil || g.config.Watchdog.Stuck <= 0 || row.State != pool.Ready && row.State != pool.Available || row.PID == 0 {
			continue
		}
		look.Leaders = append(look.Leaders, row.PID)
		if look.Limit == 0 || g.config.Watchdog.Stuck < look.Limit {
			look.Limit = g.config.Watchdog.Stuck
		}
		for _, l := range g.sockets.Listeners() {
			if !seen[l.Inode] {
				seen[l.Inode] = true
				look.Listeners = append(look.Listeners, unread.Listener{Network: l.Network, Address: l.Address})
			}
		}
	}
	return look
}

// wantsLooks reports that a release wants its connections looked at.
func (m *Master) wantsLooks() bool {
	for _, g := range m.generations {
		if g.config.Watchdog.Stuck > 0 {
			return true
		}
	}
	return false
}

// unreadFound: a look is over.
type unreadFound struct {
	held []unread.Held
	err  error
}

func (f unreadFound) apply(m *Master, now time.Time) {
	m.reading.running = false
	if f.err != nil && !m.reading.failed {
		m.log.Errorf("%v; workers that are stuck are not found", f.err)
	}
	m.reading.failed = f.err != nil
	for _, w := range m.workers {
		for _, h := range f.held {
			if w.process.PID() != h.Leader || h.For < m.generations[w.generation].config.Watchdog.Stuck {
				continue
			}
			if m.pool.Hang(now, w.id, pool.Unread) {
				m.of(w).Warnf("worker %d (pid %d) of generation %d has left a connection unread for %v", w.slot, h.Leader, w.generation, h.For.Round(time.Millisecond))
			}
		}
	}
}

// Unread implements World.
func (h *host) Unread(look UnreadLook) ([]unread.Held, error) {
	return look.Tracker.Look(look.Listeners, look.Leaders, look.Limit, look.Gap)
}
