package packages_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"fugue/e2e"
	"fugue/internal/loadtest"
)

// box is a machine with dpkg on which fugue is not yet.
type box struct {
	t *testing.T
	*e2e.Sandbox
}

func eachBox(t *testing.T, f func(t *testing.T, b *box), options ...e2e.Option) {
	t.Helper()
	// Built once, and not while a sandbox waits.
	paths := map[string]string{older: file(t, olderOnce, debs), newer: file(t, newerOnce, debs)}
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		b := &box{t, sb}
		for version, path := range paths {
			b.Install(path, deb(version))
		}
		// Of no matter here, and slow: the index of manual pages.
		b.File("/etc/dpkg/dpkg.cfg.d/no-triggers", "no-triggers\n")
		// Units are searched for in /u, and not among the root's own.
		b.Do("ln", "-s", "/usr/lib/systemd/system/fugue@.service", "/u/")
		f(t, b)
	}, append([]e2e.Option{e2e.WithoutFugue(), e2e.WithRootGenerators()}, options...)...)
}

func deb(version string) string { return "/t/fugue-" + version + ".deb" }

// dpkg runs it and returns what it says.
func (b *box) dpkg(args ...string) string {
	b.t.Helper()
	r := b.Exec(append([]string{"dpkg"}, args...)...)
	if r.Code != 0 {
		b.t.Fatal(r)
	}
	return r.Out + r.Err
}

func (b *box) pool(name, version string, port int) {
	b.t.Helper()
	b.File("/etc/fugue/"+name+".toml", fmt.Sprintf(`command = ["/usr/bin/testworker", "-version", %q]
workers = 2
user = "www-data"
[listen.http]
stream = "127.0.0.1:%d"
[restart]
min_uptime = "100ms"
`, version, port))
}

// known are the files of the root's package data base and of /etc, /usr and /run
// that bear fugue's name.
func (b *box) known() []string {
	b.t.Helper()
	out := b.Do("sh", "-c", `find /etc /usr /var /run -xdev \( -name '*fugue*' -o -path '*/fugue/*' \) 2>/dev/null; getent group fugue || true`)
	var list []string
	for line := range strings.Lines(out) {
		list = append(list, strings.TrimSpace(line))
	}
	slices.Sort(list)
	return list
}

// From nothing to a pool that serves, and back to nothing.
func TestInstallServePurge(t *testing.T) {
	eachBox(t, func(t *testing.T, b *box) {
		before := b.known()
		said := b.dpkg("-i", deb(newer))
		if strings.Contains(said, "fugue:") {
			t.Errorf("dpkg says %s", said)
		}
		if units := b.Do("systemctl", "list-units", "--all", "--plain", "--no-legend", "fugue*", "web*"); units != "" {
			t.Errorf("the package started %s", units)
		}
		if v := b.Do("fugue", "version"); !strings.HasPrefix(v, "fugue "+newer+" ") {
			t.Errorf("it is %s", v)
		}

		b.pool("web", "v1", 8080)
		b.DaemonReload()
		b.Do("systemctl", "start", "web") // a unit that the generator has made
		if a := b.Get("http://127.0.0.1:8080/"); a.Version != "v1" {
			t.Errorf("%+v", a)
		}
		for property, want := range map[string]string{
			"OOMPolicy": "continue", "KillMode": "process", "RestartUSec": "100ms", "NotifyAccess": "main", "FileDescriptorStoreMax": "4096",
		} {
			if got := b.Show("web", property); got != want {
				t.Errorf("%s is %q, want %q", property, got, want)
			}
		}

		load := b.Load(loadtest.Config{Address: "127.0.0.1:8080"})
		b.pool("web", "v2", 8080)
		b.Do("systemctl", "reload", "web")
		load.AwaitVersion("v2")
		b.File("/etc/fugue/web.toml", "command = [\"x\"]\nworkres = 4\n")
		if r := b.Systemctl("reload", "web"); r.Code == 0 {
			t.Errorf("a broken file was taken: %v", r)
		}
		b.WaitMessage("/etc/fugue/web.toml:2:1: error: unknown key", "-u", "web")
		load.AwaitMore(50)
		load.StopWithoutLoss()
		b.pool("web", "v2", 8080)

		b.Do("systemctl", "stop", "web")
		if left := b.Processes("web"); len(left) != 0 {
			t.Errorf("left by the stop: %+v", left)
		}
		// Behind its socket, it is started by the first connection.
		b.File("/etc/fugue/web.toml", b.ReadFile("/etc/fugue/web.toml")+"[install]\nsockets = true\n")
		b.DaemonReload()
		b.Do("systemctl", "start", "web-http.socket")
		if state := b.Show("web", "ActiveState"); state != "inactive" {
			t.Errorf("web is %s before a request", state)
		}
		if a := b.Get("http://127.0.0.1:8080/"); a.Version != "v2" {
			t.Errorf("%+v", a)
		}
		b.WaitState("web", "running")

		// A removal stops what runs, and what would start it again.
		main := b.MainPID("web")
		b.dpkg("-r", "fugue")
		b.WaitGone(main)
		if _, err := b.Dial("tcp", "127.0.0.1:8080"); err == nil {
			t.Error("it still serves")
		}
		if b.ReadFile("/etc/fugue/web.toml") == "" {
			t.Error("a removal took the configuration away")
		}
		b.dpkg("-P", "fugue")
		if after := b.known(); !slices.Equal(after, before) {
			t.Errorf("the purge leaves\n%s", strings.Join(after, "\n"))
		}
	})
}

// An upgrade of the package under load hands every pool over: the same
// masters, the new version, and nothing lost. So does a downgrade.
func TestUpgradeUnderLoad(t *testing.T) {
	eachBox(t, func(t *testing.T, b *box) {
		b.dpkg("-i", deb(older))
		b.pool("web", "v1", 8080)
		b.pool("api", "v1", 8081)
		b.DaemonReload()
		// One as the generator writes it, one by the template.
		units := []string{"web", "fugue@api"}
		b.Do("systemctl", "start", units[0], units[1])
		loads := []*e2e.Load{
			b.Load(loadtest.Config{Address: "127.0.0.1:8080"}),
			b.Load(loadtest.Config{Address: "127.0.0.1:8081", Rate: 100, KeepAlive: 3}),
		}
		masters := []e2e.Process{b.MainPID(units[0]), b.MainPID(units[1])}
		workers := len(b.Processes(units[0]))
		steps := []string{newer, older, newer}
		for range loadtest.Scale(10) {
			steps = append(steps, older, newer)
		}
		for i, version := range steps {
			said := b.dpkg("-i", deb(version))
			for n, name := range []string{"web", "api"} {
				if want := fmt.Sprintf("%s: fugue %s serves, 2 workers taken along", name, version); !strings.Contains(said, want) {
					t.Errorf("step %d, to %s: dpkg does not say %q:\n%s", i, version, want, said)
				}
				if now := b.MainPID(units[n]); now.Outside != masters[n].Outside {
					t.Errorf("step %d, to %s: the master of %s was %+v and is %+v", i, version, name, masters[n], now)
				}
				if s := b.Do("fugue", "status", name); !strings.Contains(s, "fugue "+version+",") {
					t.Errorf("step %d, to %s: %s", i, version, s)
				}
			}
			for _, load := range loads {
				load.AwaitMore(20)
			}
		}
		for _, load := range loads {
			load.StopWithoutLoss()
		}
		if n := len(b.Processes(units[0])); n != workers {
			t.Errorf("%d processes, there were %d: %+v", n, workers, b.Processes(units[0]))
		}
		if n := b.ShowInt(units[0], "NRestarts") + b.ShowInt(units[1], "NRestarts"); n != 0 {
			t.Errorf("systemd started a master %d times again", n)
		}

		// One that cannot be handed over is said, and the package is installed.
		b.File("/etc/fugue/api.toml", "command = [\"x\"]\nworkres = 4\n")
		said := b.dpkg("-i", deb(older))
		for _, want := range []string{"web: fugue " + older + " serves", "api: upgrade refused", "/etc/fugue/api.toml:2:1: error:", "1 of 2 pools not upgraded", "try again: fugue upgrade NAME"} {
			if !strings.Contains(said, want) {
				t.Errorf("dpkg does not say %q:\n%s", want, said)
			}
		}
		if s := b.Do("fugue", "status", "api"); !strings.Contains(s, "fugue "+newer+",") {
			t.Errorf("what serves api now: %s", s)
		}
	})
}
