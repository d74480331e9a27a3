package packages_test

import (
	"slices"
	"strings"
	"testing"

	"fugue/e2e"
	"fugue/internal/loadtest"
)

// The shipped template, for those who enable a pool by hand: the generator then
// leaves its file alone, until it is disabled again.
func TestTemplate(t *testing.T) {
	eachBox(t, func(t *testing.T, b *box) {
		before := b.known()
		b.dpkg("-i", deb(newer))
		// A file of its own: one that is linked from elsewhere is enabled as such.
		const template = "/usr/lib/systemd/system/fugue@.service"
		b.Do("cp", "--remove-destination", template, "/u/")
		r := b.Exec("systemd-analyze", "--man=no", "verify", "fugue@web.service")
		for line := range strings.Lines(r.Err) {
			// The one line that 252 does not know.
			if strings.Contains(line, "fugue@") && !strings.Contains(line, "'DelegateSubgroup'") {
				t.Error(line)
			}
		}
		if r.Code != 0 {
			t.Error(r)
		}

		b.pool("web", "v1", 8080)
		b.DaemonReload()
		made := func(want string) {
			t.Helper()
			if got := b.Show("web", "LoadState"); got != want {
				t.Errorf("web.service is %s, want it %s", got, want)
			}
		}
		made("loaded")
		b.Do("systemctl", "enable", "fugue@web")
		made("not-found")
		if s := b.Do("systemctl", "is-enabled", "fugue@web"); strings.TrimSpace(s) != "enabled" {
			t.Errorf("it is %s", s)
		}
		if wants := b.Show("multi-user.target", "Wants"); !slices.Contains(strings.Fields(wants), "fugue@web.service") {
			t.Errorf("a boot starts %s", wants)
		}
		b.Do("systemctl", "start", "fugue@web")
		load := b.Load(loadtest.Config{Address: "127.0.0.1:8080"})
		main := b.MainPID("fugue@web")
		b.pool("web", "v2", 8080)
		b.Do("systemctl", "reload", "fugue@web")
		load.AwaitVersion("v2")
		b.pool("web", "v3", 8080)
		b.Do("systemctl", "restart", "fugue@web")
		load.AwaitVersion("v3")
		if b.MainPID("fugue@web") == main {
			t.Error("a restart left the master")
		}
		load.StopWithoutLoss()
		if why := b.Systemctl("start", "web"); why.Code == 0 {
			t.Error("the file is run twice")
		}

		b.Do("systemctl", "disable", "--now", "fugue@web")
		if left := b.Processes("fugue@web"); len(left) != 0 {
			t.Errorf("left: %+v", left)
		}
		made("loaded")
		b.Do("systemctl", "start", "web")
		if a := b.Get("http://127.0.0.1:8080/"); a.Version != "v3" {
			t.Errorf("%+v", a)
		}
		b.Do("systemctl", "stop", "web")

		b.Do("systemctl", "enable", "--now", "fugue@web")
		last := b.MainPID("fugue@web")
		b.dpkg("-P", "fugue")
		b.WaitGone(last)
		if after := b.known(); !slices.Equal(after, before) {
			t.Errorf("the purge leaves\n%s", strings.Join(after, "\n"))
		}
	}, e2e.WithEnabled())
}
