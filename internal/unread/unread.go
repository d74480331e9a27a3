// Package unread finds connections that a worker has accepted and does not read:
// what a server shows that hangs, without a word of its own. The kernel knows
// how many bytes wait in a socket, and how many have been taken from it.
package unread

import (
	"slices"
	"time"
)

// Listener is a stream socket whose connections are looked at.
type Listener struct {
	Network string // tcp or unix; others have none
	Address string // as getsockname(2) says: 127.0.0.1:80, [::]:80, /path, @name
}

// Held is the connection of one worker that has waited longest.
type Held struct {
	Leader int           // the worker's process ID, which is that of its group
	For    time.Duration // how long bytes have waited, and none were taken
}

// conn is one accepted connection in which bytes wait.
type conn struct {
	cookie  uint64 // names it for as long as the kernel runs
	inode   uint32
	waiting uint32 // bytes
	taken   uint64 // bytes that have been read, where the kernel says so
	name    string // of a unix socket
}

// mark is what was seen of a connection, and for how long it has not moved.
type mark struct {
	conn
	waited time.Duration
}

// Tracker remembers what was unread in the last look. The zero value has seen
// nothing. It is not safe for concurrent use.
type Tracker struct {
	marks map[uint64]mark
	last  time.Time
}

// Look finds the workers that have left a connection unread for at least limit,
// by looks that are at most gap apart. A longer pause counts for nothing: the
// machine stood still, or we did. leaders are the process IDs of workers.
// An error is the system's; what was seen before is kept.
func (t *Tracker) Look(listeners []Listener, leaders []int, limit, gap time.Duration) ([]Held, error) {
	var all []conn
	for _, l := range listeners {
		some, err := connections(l)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	for _, m := range t.marks {
		if m.name == "" || slices.ContainsFunc(all, func(c conn) bool { return c.cookie == m.cookie }) {
			continue
		}
		if c, ok := again(m.conn); ok {
			all = append(all, c)
		}
	}
	late := t.note(time.Now(), all, limit, gap)
	if len(late) == 0 {
		return nil, nil
	}
	return owners(late, leaders), nil
}

// note is the look itself: it returns for how long each connection has waited
// that has done so for too long, by inode.
func (t *Tracker) note(now time.Time, all []conn, limit, gap time.Duration) map[uint32]time.Duration {
	old, passed := t.marks, now.Sub(t.last)
	if passed > gap {
		passed = 0
	}
	t.marks, t.last = map[uint64]mark{}, now
	late := map[uint32]time.Duration{}
	for _, c := range all {
		m, seen := old[c.cookie]
		m.waited += passed
		if !seen || c.taken != m.taken || c.waiting < m.waiting {
			m.waited = 0
		}
		m.conn = c
		t.marks[c.cookie] = m
		if m.waited >= limit {
			late[c.inode] = m.waited
		}
	}
	return late
}

// longest adds to what is known of a worker.
func longest(list []Held, h Held) []Held {
	i := slices.IndexFunc(list, func(x Held) bool { return x.Leader == h.Leader })
	if i < 0 {
		return append(list, h)
	}
	list[i].For = max(list[i].For, h.For)
	return list
}
