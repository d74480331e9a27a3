package systemd

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"
)

// place is a socket at which a manager can be asked.
type place struct {
	address string // of D-Bus
	bus     bool   // a daemon is between us and the manager
}

// places are the manager's private socket, which is for its own user and needs
// no D-Bus daemon, and the bus. cgroup is the content of /proc/self/cgroup.
func places(getenv func(string) string, cgroup string) []place {
	bus := place{"unix:path=/run/dbus/system_bus_socket", true}
	private := place{"unix:path=/run/systemd/private", false}
	named := getenv("DBUS_SYSTEM_BUS_ADDRESS")
	if ofUser(cgroup) {
		dir := escape(getenv("XDG_RUNTIME_DIR"))
		bus.address = "unix:path=" + dir + "/bus"
		private.address = "unix:path=" + dir + "/systemd/private"
		named = getenv("DBUS_SESSION_BUS_ADDRESS")
	}
	if named != "" {
		bus.address = named
	}
	return []place{private, bus}
}

// escape is that of values in D-Bus addresses, for what paths have in them.
func escape(path string) string {
	return strings.NewReplacer("%", "%25", ";", "%3b", ",", "%2c", "=", "%3d", " ", "%20").Replace(path)
}

func ownPlaces() []place {
	cgroup, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		cgroup = nil // then it is the system's manager
	}
	return places(os.Getenv, string(cgroup))
}

// connect finds the manager that runs us. One that is executing itself anew is
// not looked for elsewhere: it will be back.
func connect(ctx context.Context) (*dbus.Conn, error) {
	var err error
	for _, p := range ownPlaces() {
		var c *dbus.Conn
		c, err = dbus.NewConnection(func() (*godbus.Conn, error) { return p.dial(ctx) })
		if err == nil {
			return c, nil
		}
		if transient(err) {
			break
		}
	}
	return nil, fmt.Errorf("connect to it: %w", err)
}

// dial connects and says who we are by number: names would need a look-up. The
// connection ends with ctx.
func (p place) dial(ctx context.Context) (*godbus.Conn, error) {
	c, err := godbus.Dial(p.address, godbus.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	err = c.Auth([]godbus.Auth{godbus.AuthExternal(strconv.Itoa(os.Getuid()))})
	if err == nil && p.bus {
		err = c.Hello()
	}
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}
