package master

import (
	"golang.org/x/sys/unix"

	"fugue/internal/config"
	"fugue/internal/launch"
	"fugue/internal/release"
)

// rights are those of a process.
type rights struct{ permitted, bounding, ambient config.Capabilities }

// ownRights are looked up for each worker: a master that took the pool over
// may have others than the one that made the release.
func ownRights() (r rights) {
	r.permitted, r.bounding = release.OwnCapabilities()
	for n := range 64 {
		if has, err := unix.PrctlRetInt(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_IS_SET, uintptr(n), 0, 0); err == nil && has == 1 {
			r.ambient |= 1 << n
		}
	}
	return r
}

// capabilities are what a worker is started with; nil where the kernel gives
// it no more than it should have anyway.
//
// A change from one user to another, neither of them root, leaves the
// capabilities as they are: what lets a master without root change users would
// let its workers do so too.
func capabilities(rel *release.Release, uid int, look func() rights) *launch.Capabilities {
	another := rel.UID >= 0 && rel.UID != uid
	if rel.CapabilityBoundingSet == nil && rel.AmbientCapabilities == nil && !another {
		return nil
	}
	own := look()
	bounds := own.bounding
	c := &launch.Capabilities{}
	if set := rel.CapabilityBoundingSet; set != nil {
		c.Drop = named(own.bounding &^ *set)
		bounds = own.bounding & *set
	}
	var ambient config.Capabilities
	switch {
	case rel.AmbientCapabilities != nil:
		ambient = *rel.AmbientCapabilities
	case !another:
		ambient = own.ambient & bounds
	}
	c.Permitted, c.Inheritable, c.Ambient = uint64(ambient), uint64(ambient), named(ambient)
	if rel.UID == 0 || rel.UID < 0 && uid == 0 {
		c.Permitted = uint64(own.permitted & bounds)
	}
	return c
}

func named(set config.Capabilities) (list []launch.Capability) {
	for _, n := range set.Numbers() {
		list = append(list, launch.Capability{Number: n, Name: config.CapabilityName(n)})
	}
	return list
}
