package systemd

import "testing"

func TestUnitOf(t *testing.T) {
	for _, c := range []struct{ exec, cgroup, want string }{
		{"7", "0::/system.slice/web.service\n", "web.service"},
		{"7", "12:cpu:/x.service\n0::/user.slice/user-1000.slice/user@1000.service/app.slice/web@1.service/fugue\n", "web@1.service"},
		{"8", "0::/system.slice/web.service\n", ""},
		{"", "0::/system.slice/web.service\n", ""},
		{"7", "0::/user.slice/session-1.scope\n", ""},
		{"7", "0::/system.slice/web.service/.control\n", "web.service"}, // a command of a unit with Delegate=
		{"7", "0::/\n", ""},
		{"7", "", ""},
	} {
		getenv := func(string) string { return c.exec }
		if got := UnitOf(getenv, 7, c.cgroup); got != c.want {
			t.Errorf("UnitOf(%q, %q) = %q, want %q", c.exec, c.cgroup, got, c.want)
		}
	}
}

// A user's unit is asked about at the user's own manager: the system's would
// say that there is no such unit, and its workers would be ended.
func TestOfUser(t *testing.T) {
	for cgroup, want := range map[string]bool{
		"0::/user.slice/user-1000.slice/user@1000.service/app.slice/web.service\n": true,
		"0::/user.slice/user-1000.slice/user@1000.service\n":                       false,
		"0::/system.slice/web.service\n":                                           false,
		"0::/system.slice/web@user.service\n":                                      false,
		"0::/\n":                                                                   false,
		"":                                                                         false,
	} {
		if got := ofUser(cgroup); got != want {
			t.Errorf("ofUser(%q) = %v", cgroup, got)
		}
	}
}

func TestPlaces(t *testing.T) {
	env := map[string]string{"XDG_RUNTIME_DIR": "/run/user/1000", "DBUS_SESSION_BUS_ADDRESS": ""}
	getenv := func(key string) string { return env[key] }
	const user = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/web.service\n"
	want := func(cgroup string, addresses ...string) {
		t.Helper()
		for i, p := range places(getenv, cgroup) {
			if p.address != addresses[i] || p.bus != (i == 1) {
				t.Errorf("place %d is %+v, want %s", i, p, addresses[i])
			}
		}
	}
	want("0::/system.slice/web.service\n", "unix:path=/run/systemd/private", "unix:path=/run/dbus/system_bus_socket")
	want(user, "unix:path=/run/user/1000/systemd/private", "unix:path=/run/user/1000/bus")
	env["DBUS_SYSTEM_BUS_ADDRESS"], env["DBUS_SESSION_BUS_ADDRESS"] = "unix:path=/a", "unix:path=/b"
	want("", "unix:path=/run/systemd/private", "unix:path=/a")
	want(user, "unix:path=/run/user/1000/systemd/private", "unix:path=/b")
	env["XDG_RUNTIME_DIR"], env["DBUS_SESSION_BUS_ADDRESS"] = "/a b=c", ""
	want(user, "unix:path=/a%20b%3dc/systemd/private", "unix:path=/a%20b%3dc/bus")
}
