package packages_test

import (
	"slices"
	"strings"
	"testing"

	"fugue/e2e"
	"fugue/internal/loadtest"
)

// The .rpm with Debian's rpm, as the only packages that its data base knows, in a
// machine whose systemd runs: what its scripts do is done for real.
func TestRPMInstallUpgradeErase(t *testing.T) {
	at := slices.IndexFunc(e2e.Roots(), func(r e2e.Root) bool { return r.Name == "host" })
	paths := map[string]string{older: file(t, olderOnce, rpms()), newer: file(t, newerOnce, rpms())}
	sb := e2e.Boot(t, e2e.Roots()[at], e2e.WithoutFugue(), e2e.WithRootGenerators())
	b := &box{t, sb}
	for version, path := range paths {
		b.Install(path, "/t/fugue-"+version+".rpm")
	}
	rpm := func(args ...string) string {
		t.Helper()
		// --nodeps: the data base does not know the shell that dpkg's does.
		r := b.Exec(append([]string{"rpm", "--force-debian", "--dbpath", "/t/rpm", "--nodeps"}, args...)...)
		if r.Code != 0 {
			t.Fatal(r)
		}
		return r.Out + r.Err
	}
	before := b.known()
	b.Do("rpm", "--dbpath", "/t/rpm", "--initdb")
	rpm("-i", "/t/fugue-"+older+".rpm")
	for _, path := range parts {
		b.Do("test", "-e", path)
	}
	if changed := b.Exec("rpm", "--dbpath", "/t/rpm", "--nodeps", "-V", "fugue"); changed.Code != 0 {
		t.Error("what is installed is not what is in the package:", changed)
	}
	b.Do("getent", "group", "fugue")
	if units := b.Do("systemctl", "list-units", "--all", "--plain", "--no-legend", "fugue*", "web*"); units != "" {
		t.Errorf("the package started %s", units)
	}

	b.pool("web", "v1", 8080)
	b.DaemonReload()
	b.Do("systemctl", "start", "web")
	load := b.Load(loadtest.Config{Address: "127.0.0.1:8080"})
	main := b.MainPID("web")
	for _, version := range []string{newer, older, newer} {
		said := rpm("-U", "--oldpackage", "/t/fugue-"+version+".rpm")
		if want := "web: fugue " + version + " serves, 2 workers taken along"; !strings.Contains(said, want) {
			t.Errorf("rpm does not say %q:\n%s", want, said)
		}
		if now := b.MainPID("web"); now.Outside != main.Outside {
			t.Errorf("to %s: the master was %+v and is %+v", version, main, now)
		}
		load.AwaitMore(20)
	}
	load.StopWithoutLoss()
	if n := b.ShowInt("web", "NRestarts"); n != 0 {
		t.Errorf("systemd started a master %d times again", n)
	}

	rpm("-e", "fugue")
	b.WaitGone(main)
	if state := b.Show("web", "LoadState"); state != "not-found" {
		t.Errorf("web.service is %s", state)
	}
	// A file that a person wrote is left, with its directory; groups are for ever
	// where RPM is at home.
	b.Do("rm", "-r", "/etc/fugue")
	b.Do("groupdel", "fugue")
	left := slices.DeleteFunc(b.known(), func(path string) bool { return slices.Contains(before, path) })
	if len(left) > 0 {
		t.Errorf("the erasure leaves\n%s", strings.Join(left, "\n"))
	}
}
