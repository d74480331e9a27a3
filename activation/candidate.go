package activation

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Candidate is a Set that could be next: its new sockets are bound and its
// options are set, while everything of the current Set is still open. Exactly
// one of Commit and Abort ends it; further calls do nothing.
type Candidate struct {
	set     *Set
	added   []Listener
	removed []Listener
	forget  []string
	others  []Inherited
	close   []int          // inherited fds that nobody wants
	undo    []func() error // in the order of what was done
	over    bool
}

// Set is the next Set.
func (c *Candidate) Set() *Set { return c.set }

// Added are the listeners that the fd store does not have yet, under their
// StoreName. Store them after removing what Forget lists: the names of one and
// the same socket may be in both.
func (c *Candidate) Added() []Listener { return slices.Clone(c.added) }

// Removed are the listeners that Commit closes: of the current Set, and those
// from the fd store that no spec matches.
func (c *Candidate) Removed() []Listener { return slices.Clone(c.removed) }

// Forget are the names to remove from the fd store (FDSTOREREMOVE=1) once the
// Candidate is committed: of removed listeners, duplicates and entries that
// make no sense. All begin with "fugue.listen.".
func (c *Candidate) Forget() []string { return slices.Clone(c.forget) }

// Others are inherited fds that are fugue's but not listeners, by their name
// ("fugue.state" and the like). They are untouched and stay the caller's.
func (c *Candidate) Others() []Inherited { return slices.Clone(c.others) }

// Commit closes what the next Set does not have. A removed unix path that
// fugue bound is unlinked before, unless its Spec says otherwise. An error is
// about cleaning up only: the next Set is in force in any case.
func (c *Candidate) Commit() error {
	if c.over {
		return nil
	}
	c.over = true
	var errs []error
	for _, l := range c.removed {
		errs = append(errs, closeListener(l, true))
	}
	for _, fd := range c.close {
		errs = append(errs, closeFD(fd))
	}
	return errors.Join(errs...)
}

// Abort closes and unlinks what Prepare bound, and gives changed options their
// former values. Sockets of the current Set and inherited ones stay open.
func (c *Candidate) Abort() error {
	if c.over {
		return nil
	}
	c.over = true
	var errs []error
	for _, undo := range slices.Backward(c.undo) {
		errs = append(errs, undo())
	}
	return errors.Join(errs...)
}

// fill finds out all that must be done, then does it: what can be refused
// without touching anything is refused first.
func (p *preparation) fill(fetch Fetch) error {
	var changes []change
	for _, w := range p.wanted {
		if len(w.found) == 0 && !w.spec.hasAddress() {
			return fmt.Errorf("listen %q: no address is configured, and systemd passed no socket of that name%s", w.spec.Name, p.passed())
		}
		for _, s := range w.found {
			list, err := s.changes(w.spec)
			if err != nil {
				return fmt.Errorf("listen %q: %w", w.spec.Name, err)
			}
			changes = append(changes, list...)
		}
	}
	for i := range p.wanted {
		w := &p.wanted[i]
		if len(w.found) > 0 {
			continue
		}
		s, list, err := p.obtain(*w, fetch)
		if err != nil {
			return fmt.Errorf("listen %q: %w", w.spec.Name, err)
		}
		w.found = []*source{s}
		changes = append(changes, list...)
	}
	for _, c := range changes {
		if err := c.do(); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		p.undo = append(p.undo, c.undo)
	}
	return nil
}

// changes a bound socket needs for a spec; none is done yet.
func (s *source) changes(want Spec) ([]change, error) {
	e, err := endpointOf(s.Listener)
	if err != nil {
		e = endpoint{network: s.Network}
	}
	if errs := want.misplaced(e); len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	var old *Spec
	if s.current {
		old = &s.Spec
	}
	list, err := socketChanges(s.Listener, e, old, want)
	if err != nil {
		return nil, err
	}
	rights, err := accessChanges(s.Listener, old, want)
	if err != nil {
		return nil, err
	}
	if s.Network == "tcp" && !Listening(s.Listener) {
		l := s.Listener
		l.Spec = want
		again := change{
			name: "listen again on " + s.Address,
			do:   func() error { return Revive(l) },
			undo: func() error { return nil },
		}
		list = slices.Insert(list, 0, again) // before any listen(2) that picks a port
	}
	return append(list, rights...), nil
}

// obtain gets a socket that this process does not have.
func (p *preparation) obtain(w want, fetch Fetch) (*source, []change, error) {
	s := &source{used: true}
	var fetchErr error
	if fetch != nil {
		var fd int
		if fd, fetchErr = fetch(w.spec.Name, w.at.network, w.at.String()); fetchErr == nil && fd >= 0 {
			d, err := describe(fd)
			s.Listener = Listener{FD: fd, Inode: d.inode, Network: d.network, Address: d.address, Origin: Own}
			if err == nil && !d.connected && w.at.is(d.network, d.address) && s.usable() {
				p.undo = append(p.undo, func() error { return closeFD(fd) })
				list, err := s.changes(w.spec)
				return s, list, err
			}
			if err := closeFD(fd); err != nil {
				return nil, nil, err
			}
			fetchErr = errors.New("what was fetched is not a socket of this address")
		}
	}
	var id fileID
	var fd int
	var err error
	if w.at.path != "" {
		replaced := map[uint64]bool{}
		for _, l := range p.leaving() {
			replaced[l.Inode] = true
		}
		fd, id, err = bindUnix(w.at, w.spec, replaced)
	} else {
		fd, err = bindInet(w.at, w.spec, p.leaving())
	}
	if err != nil {
		return nil, nil, bindError(w.at, err, fetchErr)
	}
	p.undo = append(p.undo, func() error {
		return errors.Join(removePath(w.at.path, id), closeFD(fd))
	})
	d, err := describe(fd)
	if err != nil {
		return nil, nil, err
	}
	s.Listener = Listener{FD: fd, Inode: d.inode, Network: d.network, Address: d.address, Origin: Own, PathDev: id.dev, PathInode: id.inode}
	return s, nil, nil
}

// leaving are sockets of ours that no spec wants.
func (p *preparation) leaving() (list []Listener) {
	for _, s := range p.sources {
		if !s.used && s.Origin != Systemd {
			list = append(list, s.Listener)
		}
	}
	return list
}

// passed names what systemd did pass, for the words of an error.
func (p *preparation) passed() string {
	var names []string
	for _, s := range p.sources {
		if s.Origin == Systemd {
			names = append(names, fmt.Sprintf("%q", s.FDName))
		}
	}
	if len(names) == 0 {
		return " (it passed none)"
	}
	slices.Sort(names)
	return " (it passed " + strings.Join(slices.Compact(names), ", ") + ")"
}

// settle puts the next Set in order and sorts out what is left over.
func (p *preparation) settle() {
	for _, w := range p.wanted {
		for _, s := range w.found {
			l := s.Listener
			l.Name, l.Spec = w.spec.Name, w.spec
			if l.Origin != Systemd && l.StoreName == "" {
				p.set.seq++
				l.StoreName = storeName(l.Name, p.set.seq)
				p.added = append(p.added, l)
			}
			p.set.listeners = append(p.set.listeners, l)
		}
	}
	var extra []Listener
	for _, s := range p.sources {
		l := s.Listener
		switch {
		case s.used:
		case l.Origin == Systemd:
			l.Name, l.Spec = l.FDName, Spec{}
			extra = append(extra, l)
		default:
			if !s.current && l.isPath() {
				id, _ := pathOf(l.Inode, l.Address)
				l.PathDev, l.PathInode = id.dev, id.inode
			}
			p.removed = append(p.removed, l)
			if l.StoreName != "" {
				p.forget = append(p.forget, l.StoreName)
			}
		}
	}
	slices.SortStableFunc(extra, func(a, b Listener) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Network, b.Network), cmp.Compare(a.Address, b.Address))
	})
	p.set.listeners = append(p.set.listeners, extra...)
	slices.Sort(p.forget)
	p.forget = slices.Compact(p.forget)
}
