package activation

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Fetch gets a socket from a process that still holds it, a predecessor or one
// of its workers (HolderOf, pidfd_getfd(2)). It returns an fd of its own, or -1
// when there is none; an error does not end a Prepare, but is told should the
// address turn out to be taken. Address has port 0 where the spec has.
type Fetch func(name, network, address string) (fd int, err error)

// Prepare finds or makes a socket for every spec. Each comes from the first of
// these that has it: the current Set, systemd's .socket units, the fd store,
// fetch (may be nil), a fresh bind. A socket matches by network and address,
// never by order; among several the one of the same name is taken, so that a
// listener may be renamed without losing its socket. Options that the specs
// change on sockets already bound are set at once.
//
// Sockets of .socket units stay in every Set, configured or not. On an error
// nothing is different from before, except that a stale unix path found on the
// way is gone; inherited fds then still belong to the caller, who may try
// again. Not for two calls at once.
func Prepare(current *Set, specs []Spec, inherited []Inherited, fetch Fetch) (*Candidate, error) {
	wanted, err := wantedFrom(specs)
	if err != nil {
		return nil, err
	}
	c := &Candidate{set: &Set{}}
	if current != nil {
		c.set.seq = current.seq
	}
	p := &preparation{Candidate: c, wanted: wanted}
	if err := p.collect(current, inherited); err != nil {
		return nil, err
	}
	for _, byName := range []bool{true, false} {
		for i := range p.wanted {
			p.match(&p.wanted[i], byName)
		}
	}
	if err := p.fill(fetch); err != nil {
		return nil, errors.Join(err, c.Abort())
	}
	p.settle()
	return c, nil
}

// want is a spec on its way to a socket.
type want struct {
	spec  Spec
	at    endpoint
	found []*source // more than one only for a spec without an address
}

// source is a socket that already is.
type source struct {
	Listener
	name    string // the name it answers to
	current bool   // from the current Set: its Spec is in force
	used    bool
}

type preparation struct {
	*Candidate
	wanted  []want
	sources []*source
}

func wantedFrom(specs []Spec) ([]want, error) {
	var list []want
	var errs []error
	at := map[string]Spec{}
	for _, s := range specs {
		if err := s.Validate(); err != nil {
			errs = append(errs, fmt.Errorf("listen %q: %w", s.Name, err))
			continue
		}
		e, _ := s.endpoint()
		e = e.resolve()
		list = append(list, want{spec: s, at: e})
		key := e.network + " " + e.String()
		if !s.hasAddress() {
			key = "name " + s.Name
		}
		other, double := at[key]
		shared := s.ReusePort != nil && *s.ReusePort && other.ReusePort != nil && *other.ReusePort
		if double && !e.anyPort() && !shared {
			errs = append(errs, fmt.Errorf("listen %q: %q wants the same address", s.Name, other.Name))
		}
		at[key] = s
	}
	return list, errors.Join(errs...)
}

// collect lists every socket there is to choose from, once.
func (p *preparation) collect(current *Set, inherited []Inherited) error {
	seen := map[fileID]bool{}
	for _, l := range current.Listeners() {
		d, err := describe(l.FD)
		if err != nil {
			return fmt.Errorf("listener %q: %w", l.Name, err)
		}
		seen[fileID{d.dev, d.inode}] = true
		p.sources = append(p.sources, &source{Listener: l, name: l.Name, current: true})
	}
	// systemd's own first: should one also be in the store, that entry is the
	// duplicate.
	sorted := slices.Clone(inherited)
	slices.SortStableFunc(sorted, func(a, b Inherited) int {
		return cmp.Compare(number(isFugues(a.Name)), number(isFugues(b.Name)))
	})
	sorted = slices.DeleteFunc(sorted, func(in Inherited) bool {
		return slices.Contains(current.FDs(), in.FD) // adopted by an earlier call
	})
	names := map[string]int{}
	for _, in := range sorted {
		names[in.Name]++
		p.set.seq = max(p.set.seq, storeSeq(in.Name))
	}
	for _, in := range sorted {
		if isFugues(in.Name) && !strings.HasPrefix(in.Name, storePrefix) {
			p.others = append(p.others, in)
			continue
		}
		d, err := describe(in.FD)
		if err != nil {
			return fmt.Errorf("inherited socket %q: %w", in.Name, err)
		}
		unix.CloseOnExec(in.FD)
		l := Listener{Name: in.Name, FD: in.FD, Inode: d.inode, Network: d.network, Address: d.address, Origin: Systemd, FDName: in.Name}
		s := &source{Listener: l, name: in.Name}
		stored, _, wellFormed := parseStoreName(in.Name)
		if isFugues(in.Name) {
			s.Origin, s.FDName, s.StoreName, s.name = Store, "", in.Name, stored
			if !wellFormed || d.connected || d.network == "other" {
				p.surplus(in)
				continue
			}
			if names[in.Name] > 1 {
				// Removing one from the store by name would remove the other.
				p.forget = append(p.forget, in.Name)
				s.StoreName = ""
			}
		}
		if seen[fileID{d.dev, d.inode}] {
			p.surplus(in)
			continue
		}
		seen[fileID{d.dev, d.inode}] = true
		p.sources = append(p.sources, s)
	}
	return nil
}

func isFugues(name string) bool { return strings.HasPrefix(name, "fugue.") }

// surplus: to be closed at Commit and, if it is ours, removed from the store.
func (p *preparation) surplus(in Inherited) {
	p.close = append(p.close, in.FD)
	if isFugues(in.Name) {
		p.forget = append(p.forget, in.Name)
	}
}

// match gives a want the socket it should have, if there is one.
func (p *preparation) match(w *want, byName bool) {
	if len(w.found) > 0 {
		return
	}
	for _, s := range p.sources {
		named := s.name == w.spec.Name || s.FDName == w.spec.Name && s.FDName != "" ||
			s.Origin == Store && s.name == storedAs(w.spec.Name)
		if s.used || byName && !named {
			continue
		}
		if !w.spec.hasAddress() {
			if byName && s.Origin == Systemd {
				s.used = true
				w.found = append(w.found, s)
			}
			continue
		}
		if !w.at.is(s.Network, s.Address) || w.at.anyPort() && !byName || !s.usable() {
			continue
		}
		s.used = true
		w.found = append(w.found, s)
		return
	}
}

// usable is false for a unix path of ours that no client can reach and nothing
// can repair: its socket was shut down, or the file is gone or another's. It is
// then bound anew. Other addresses cannot be bound beside the dead socket.
func (s *source) usable() bool {
	if s.Origin == Systemd || !s.isPath() {
		return true
	}
	id, reached := pathOf(s.Inode, s.Address)
	if reached && !s.current {
		s.PathDev, s.PathInode = id.dev, id.inode
	}
	return reached && Listening(s.Listener)
}
