package master

import (
	"errors"

	"fugue/activation"
)

// takeSockets puts the sockets of a generation in the place of those before.
func (m *Master) takeSockets(g *generation) {
	if g.candidate == nil { // a predecessor had prepared it
		m.narrow(g)
		return
	}
	m.sockets = g.sockets
	m.commit(g.candidate)
}

// dropSockets takes back what a generation had bound.
func (m *Master) dropSockets(g *generation) {
	if g.candidate == nil {
		m.narrow(m.generations[m.current])
		return
	}
	m.abort(g.candidate)
}

// narrow closes every socket that a generation does not have, and gives the
// others the options that it wants: what Commit or Abort of a Candidate does,
// for one that a predecessor had prepared.
func (m *Master) narrow(g *generation) {
	var specs []activation.Spec
	seen := map[string]bool{"": true} // one without a name is systemd's own
	for _, l := range g.sockets.Listeners() {
		if !seen[l.Spec.Name] {
			seen[l.Spec.Name] = true
			specs = append(specs, l.Spec)
		}
	}
	c, err := activation.Prepare(m.sockets, specs, nil, nil)
	if err != nil {
		m.log.Errorf("close the sockets that are not wanted any more: %v", err)
		return
	}
	for _, l := range c.Added() {
		m.world.Store(l)
	}
	m.commit(c)
	m.sockets = c.Set()
}

// keepBoth keeps what a rollout bound and what it was to close: workers of
// both its generations live on, and the next release may want either.
func (m *Master) keepBoth(g *generation) {
	c := g.candidate
	if c == nil {
		return // a predecessor's: both are held already
	}
	both, err := activation.Restore(append(c.Set().Listeners(), c.Removed()...))
	if err != nil {
		m.log.Errorf("keep the sockets of both releases: %v", err)
		both = c.Set()
	}
	m.sockets = both
}

// commit closes what the next release does not have any more.
func (m *Master) commit(c *activation.Candidate) {
	for _, name := range c.Forget() {
		m.world.Unstore(name)
	}
	if err := errors.Join(m.hangUp(c.Removed()), c.Commit()); err != nil {
		m.log.Warnf("close what was removed: %v", err)
	}
}

// abort takes back what was bound for a release that came to nothing.
func (m *Master) abort(c *activation.Candidate) {
	for _, l := range c.Added() {
		if l.StoreName != "" {
			m.world.Unstore(l.StoreName)
		}
	}
	if err := errors.Join(m.hangUp(c.Added()), c.Abort()); err != nil {
		m.log.Warnf("take back what was bound: %v", err)
	}
}

// hangUp ends those of the listeners that no worker has. Our closing is not
// the end of one that is in systemd's fd store: until systemd has read that it
// is to be forgotten, clients would connect to nobody, and after the verdict.
func (m *Master) hangUp(going []activation.Listener) error {
	if len(m.strangers) > 0 {
		return nil // what a predecessor's processes have, nobody knows
	}
	var errs []error
	for _, l := range going {
		if !m.hasListener(l) {
			errs = append(errs, activation.HangUp(l))
		}
	}
	return errors.Join(errs...)
}

// hasListener reports that a worker has l, or will.
func (m *Master) hasListener(l activation.Listener) bool {
	if g := m.generations[m.current]; g != nil && g.inodes[l.Inode] {
		return true
	}
	for _, w := range m.workers {
		if m.generations[w.generation].inodes[l.Inode] {
			return true
		}
	}
	return false
}

// socketNews says what a reload did to the listeners.
func socketNews(old, now *activation.Set) []string {
	had, has := map[string]bool{}, map[string]bool{}
	for _, l := range old.Listeners() {
		had[l.Name+" "+l.Address] = true
	}
	var news []string
	for _, l := range now.Listeners() {
		key := l.Name + " " + l.Address
		has[key] = true
		if !had[key] {
			news = append(news, "listening on "+l.Address+" ("+l.Name+")")
		}
	}
	for _, l := range old.Listeners() {
		if !has[l.Name+" "+l.Address] {
			news = append(news, "no longer listening on "+l.Address+" ("+l.Name+")")
		}
	}
	return news
}
