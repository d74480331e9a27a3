package systemd

import (
	"context"

	"github.com/coreos/go-systemd/v22/dbus"
)

// Properties asks for all properties of a unit, under the names and with the
// types of D-Bus. A unit that systemd does not know has LoadState "not-found".
func Properties(ctx context.Context, unit string) (map[string]any, error) {
	return ask(ctx, "the properties of "+unit, func(c *dbus.Conn) (map[string]any, error) {
		return c.GetAllPropertiesContext(ctx, unit)
	})
}
