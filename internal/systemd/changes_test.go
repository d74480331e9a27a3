package systemd

import (
	"testing"

	godbus "github.com/godbus/dbus/v5"
)

func TestAbout(t *testing.T) {
	properties := map[string]godbus.Variant{}
	for _, c := range []struct {
		path string
		body []any
		want bool
	}{
		{"/org/freedesktop/systemd1/unit/web_40a_2eservice", []any{"org.freedesktop.systemd1.Unit", properties, []string{}}, true},
		{"/org/freedesktop/systemd1/unit/web_2eservice", []any{"org.freedesktop.systemd1.Unit", properties, []string{}}, false},
		{manager, []any{uint32(7), godbus.ObjectPath(manager + "/job/7"), "web@a.service", "done"}, true},
		{manager, []any{uint32(7), godbus.ObjectPath(manager + "/job/7"), "web.service", "done"}, false},
		{manager, nil, false},
	} {
		if got := about(&godbus.Signal{Path: godbus.ObjectPath(c.path), Body: c.body}, "web@a.service"); got != c.want {
			t.Errorf("%s %v: %v", c.path, c.body, got)
		}
	}
}

func TestTransient(t *testing.T) {
	for _, p := range places(func(string) string { return "" }, "") {
		p.address = "unix:path=" + t.TempDir() + "/nobody"
		if _, err := p.dial(t.Context()); err == nil || transient(err) {
			t.Errorf("a place without a socket: %v", err)
		}
	}
}
