package systemd

import (
	"context"
	"fmt"
	"slices"

	sdbus "github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"
)

// Changes ticks when something of a unit or its jobs has changed, never more
// than one tick ahead. The channel closes when the connection is lost, in a
// daemon-reexec for one, or ctx ends: what changed until the next call was not
// told.
func Changes(ctx context.Context, unit string) (<-chan struct{}, error) {
	var c *godbus.Conn
	var err error
	for _, p := range ownPlaces() {
		if c, err = p.dial(ctx); err == nil {
			err = p.subscribe(ctx, c)
		}
		if err == nil {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("listen to systemd: %w", err)
	}
	signals := make(chan *godbus.Signal, 64)
	c.Signal(signals)
	ticks := make(chan struct{}, 1)
	go func() {
		defer close(ticks)
		for s := range signals { // closed with the connection
			if !about(s, unit) {
				continue
			}
			select {
			case ticks <- struct{}{}:
			default: // one is waiting already
			}
		}
	}()
	return ticks, nil
}

// manager is the object that all units and jobs are of.
const manager = "/org/freedesktop/systemd1"

// subscribe asks for signals on a bus. On the private socket they come unasked.
func (p place) subscribe(ctx context.Context, c *godbus.Conn) error {
	if !p.bus {
		return nil
	}
	err := c.AddMatchSignalContext(ctx, godbus.WithMatchSender("org.freedesktop.systemd1"), godbus.WithMatchPathNamespace(manager))
	if err == nil {
		err = c.Object("org.freedesktop.systemd1", manager).CallWithContext(ctx, "org.freedesktop.systemd1.Manager.Subscribe", 0).Err
	}
	if err != nil {
		_ = c.Close()
	}
	return err
}

// about reports whether a signal is about the unit: a change of its
// properties, or of jobs, which name their unit.
func about(s *godbus.Signal, unit string) bool {
	if s.Path == godbus.ObjectPath(manager+"/unit/"+sdbus.PathBusEscape(unit)) {
		return true
	}
	return slices.Contains(s.Body, any(unit))
}
