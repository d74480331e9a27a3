package master

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"fugue/internal/config"
	"fugue/internal/launch"
	"fugue/internal/release"
)

// What workers may, from what is configured and from what the master may.
func TestCapabilitiesOfWorkers(t *testing.T) {
	const (
		chown, kill, bind = config.Capabilities(1 << 0), config.Capabilities(1 << 5), config.Capabilities(1 << 10)
		none              = config.Capabilities(0)
	)
	set := func(c config.Capabilities) *config.Capabilities { return &c }
	full := rights{permitted: chown | kill | bind, bounding: chown | kill | bind}
	given := rights{permitted: kill | bind, bounding: chown | kill | bind, ambient: kill | bind}
	is := func(drop, permitted, inheritable, ambient config.Capabilities) *launch.Capabilities {
		return &launch.Capabilities{Drop: named(drop), Permitted: uint64(permitted), Inheritable: uint64(inheritable), Ambient: named(ambient)}
	}
	for name, c := range map[string]struct {
		master            int
		own               rights
		user              int
		bounding, ambient *config.Capabilities
		want              *launch.Capabilities
	}{
		"root, nothing said":              {0, full, -1, nil, nil, nil},
		"root, another user":              {0, full, 33, nil, nil, is(none, none, none, none)},
		"root, bounded":                   {0, full, -1, set(bind), nil, is(chown|kill, bind, none, none)},
		"root, bounded to what is not":    {0, full, 0, set(bind | 1<<40), nil, is(chown|kill, bind, none, none)},
		"root, of nothing":                {0, full, 33, set(none), nil, is(chown|kill|bind, none, none, none)},
		"root, ambient":                   {0, full, 33, nil, set(bind), is(none, bind, bind, bind)},
		"root, ambient for root":          {0, full, -1, nil, set(bind), is(none, full.permitted, bind, bind)},
		"root, both":                      {0, full, 33, set(bind | kill), set(bind), is(chown, bind, bind, bind)},
		"without root, nothing said":      {33, given, -1, nil, nil, nil},
		"without root, its own user":      {33, given, 33, nil, nil, nil},
		"without root, another user":      {33, given, 34, nil, nil, is(none, none, none, none)},
		"without root, bounded":           {33, given, -1, set(bind), nil, is(chown|kill, bind, bind, bind)},
		"without root, less":              {33, given, -1, nil, set(kill), is(none, kill, kill, kill)},
		"without root, none":              {33, given, -1, nil, set(none), is(none, none, none, none)},
		"without root, ambient of others": {33, given, 34, nil, set(kill), is(none, kill, kill, kill)},
		"without root, to root":           {33, given, 0, nil, nil, is(none, given.permitted, none, none)},
	} {
		rel := &release.Release{UID: c.user, GID: c.user, CapabilityBoundingSet: c.bounding, AmbientCapabilities: c.ambient}
		got := capabilities(rel, c.master, func() rights { return c.own })
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

// What is looked up is what the kernel tells of this process.
func TestOwnRights(t *testing.T) {
	own := ownRights()
	if own.permitted&^own.bounding != 0 || own.ambient&^own.permitted != 0 || own.bounding == 0 {
		t.Errorf("%+v", own)
	}
}
