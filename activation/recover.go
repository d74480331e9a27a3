package activation

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// Recovered is what a successor has of the sockets that a master wrote down.
type Recovered struct {
	// Held is every socket that could be had: those that were written down, in
	// that order, and then what systemd passed beside them.
	Held *Set
	// Lost were written down and are nowhere any more.
	Lost []Listener
	// Others are inherited fds that are fugue's but not listeners.
	Others []Inherited
	// Forget are names to remove from the fd store: duplicates, and entries
	// that make no sense. What they stood for is closed.
	Forget []string
}

// FetchInode gets a socket from a process that still holds it, one of the
// predecessor's workers (pidfd_getfd(2)); -1 when none has it.
type FetchInode func(inode uint64) int

// Recover finds the sockets of a predecessor that is gone: among what systemd
// passed, by inode and never by order; else from its workers. A .socket unit
// that was started anew has another socket under the name and address of the
// old one: that is taken in its place.
func Recover(was []Listener, inherited []Inherited, fetch FetchInode) (*Recovered, error) {
	r := &Recovered{}
	rest := slices.Clone(inherited)
	var found []Listener
	for _, l := range was {
		if slices.ContainsFunc(found, func(f Listener) bool { return f.Inode == l.Inode }) {
			continue // two generations share it
		}
		if i := slices.IndexFunc(rest, l.isAgain); i >= 0 {
			l.FD = rest[i].FD
			rest = slices.Delete(rest, i, i+1)
		} else if l.FD = fetch(l.Inode); l.FD < 0 {
			r.Lost = append(r.Lost, l)
			continue
		}
		inode, err := socketID(l.FD)
		if err != nil {
			return nil, fmt.Errorf("recover listener %q: %w", l.Name, err)
		}
		l.Inode = inode
		unix.CloseOnExec(l.FD)
		found = append(found, l)
	}
	p := &preparation{Candidate: &Candidate{set: &Set{}}}
	if err := p.collect(&Set{listeners: found}, rest); err != nil {
		return nil, err
	}
	r.Held = &Set{seq: p.set.seq}
	for _, s := range p.sources {
		r.Held.listeners = append(r.Held.listeners, s.Listener)
		r.Held.seq = max(r.Held.seq, storeSeq(s.StoreName))
	}
	for _, fd := range p.close {
		if err := closeFD(fd); err != nil {
			return nil, err
		}
	}
	r.Others, r.Forget = p.others, p.forget
	return r, nil
}

// isAgain reports whether an inherited fd is the listener of before.
func (l Listener) isAgain(in Inherited) bool {
	inode, err := socketID(in.FD)
	if err == nil && inode == l.Inode {
		return true
	}
	if l.Origin != Systemd || in.Name != l.FDName {
		return false
	}
	d, err := describe(in.FD)
	return err == nil && d.network == l.Network && d.address == l.Address
}

// Again is the Set of listeners that were written down as they are among those
// that are held now; complete is false where one of them is not.
func (s *Set) Again(was []Listener) (again *Set, complete bool) {
	again, complete = &Set{seq: s.seq}, true
	for _, l := range was {
		i := slices.IndexFunc(s.listeners, func(h Listener) bool {
			return h.Inode == l.Inode || l.Origin == Systemd && h.Origin == Systemd &&
				h.FDName == l.FDName && h.Network == l.Network && h.Address == l.Address
		})
		if i < 0 {
			complete = false
			continue
		}
		l.FD, l.Inode = s.listeners[i].FD, s.listeners[i].Inode
		again.listeners = append(again.listeners, l)
	}
	return again, complete
}
