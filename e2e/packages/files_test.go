package packages_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The same source gives the same bytes, for each architecture.
func TestReproducible(t *testing.T) {
	t.Parallel()
	var sums [2][]byte
	again := func() (string, error) { return build("again", newer, everywhere) }
	for i, made := range []release{newerOnce, again} {
		dir, err := made()
		if err != nil {
			t.Fatal(err)
		}
		if sums[i], err = os.ReadFile(filepath.Join(dir, "SHA256SUMS")); err != nil {
			t.Fatal(err)
		}
	}
	if n := bytes.Count(sums[0], []byte("\n")); n != 6 {
		t.Errorf("%d files, want a .deb, .rpm and .tar.gz for each architecture:\n%s", n, sums[0])
	}
	if !bytes.Equal(sums[0], sums[1]) {
		t.Errorf("once\n%sand then\n%s", sums[0], sums[1])
	}
}

// output is what a command of the machine prints.
func output(t *testing.T, command ...string) string {
	t.Helper()
	out, err := exec.Command(command[0], command[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", command, err, out)
	}
	return string(out)
}

func TestLintian(t *testing.T) {
	t.Parallel()
	// Its exit status is not 0 if there is an error.
	if out := output(t, "lintian", "--allow-root", "--fail-on", "error,warning", file(t, newerOnce, debs)); out != "" {
		t.Error(out)
	}
}

// parts are files that both packages must have.
var parts = []string{
	"/usr/bin/fugue",
	"/usr/lib/systemd/system-generators/fugue-generator",
	"/usr/lib/systemd/system/fugue@.service",
	"/usr/lib/sysusers.d/fugue.conf",
	"/etc/needrestart/conf.d/fugue.conf",
	"/usr/share/bash-completion/completions/fugue",
	"/usr/share/fish/vendor_completions.d/fugue.fish",
	"/usr/share/fugue/fugue.schema.json",
	"/usr/share/man/man1/fugue.1.gz",
	"/usr/share/man/man1/fugue-upgrade.1.gz",
	"/usr/share/man/man5/fugue.toml.5.gz",
	"/usr/share/man/man7/fugue-worker.7.gz",
	"/usr/share/doc/fugue/copyright",
	"/usr/share/doc/fugue/CONFIG.md",
	"/usr/share/doc/fugue/examples/logrotate",
}

func TestRPM(t *testing.T) {
	t.Parallel()
	rpm := file(t, newerOnce, rpms())
	list := output(t, "rpm", "-qlp", rpm)
	for _, path := range append(parts, "/usr/share/zsh/site-functions/_fugue", "/etc/fugue") {
		if !strings.Contains("\n"+list, "\n"+path+"\n") {
			t.Errorf("%s is not in it:\n%s", path, list)
		}
	}
	if got := output(t, "rpm", "-qp", "--qf", "%{NAME} %{VERSION} %{LICENSE}", rpm); got != "fugue "+newer+" MIT" {
		t.Errorf("it is %q", got)
	}
	scripts := output(t, "rpm", "-qp", "--scripts", rpm)
	for _, want := range []string{"postinstall scriptlet", "preuninstall scriptlet", "postuninstall scriptlet", "fugue upgrade --all"} {
		if !strings.Contains(scripts, want) {
			t.Errorf("no %q in its scripts:\n%s", want, scripts)
		}
	}
	if config := output(t, "rpm", "-qcp", rpm); !strings.Contains(config, "/etc/needrestart/conf.d/fugue.conf") {
		t.Errorf("its configuration is %s", config)
	}
}

func TestDebHasAll(t *testing.T) {
	t.Parallel()
	list := output(t, "dpkg-deb", "-c", file(t, newerOnce, debs))
	for _, path := range append(parts, "/usr/share/zsh/vendor-completions/_fugue", "/etc/fugue/", "/usr/share/doc/fugue/changelog.gz", "/usr/share/lintian/overrides/fugue") {
		if !strings.Contains(list, " ."+path+"\n") && !strings.Contains(list, " ."+path+" -> ") {
			t.Errorf("%s is not in it:\n%s", path, list)
		}
	}
}

// needrestart reads its drop-ins as Perl.
func TestNeedrestart(t *testing.T) {
	t.Parallel()
	got := output(t, "perl", "-we", `our %nrconf = (blacklist => [], override_rc => {}); use strict;
		do "./../../packaging/needrestart.conf" or die "$@ $!";
		print "master " if grep { "/usr/bin/fugue" =~ $_ } @{$nrconf{blacklist}};
		print "worker " if grep { "/usr/bin/python3" =~ $_ } @{$nrconf{blacklist}};
		for my $re (keys %{$nrconf{override_rc}}) { print "$nrconf{override_rc}->{$re}" if "fugue\@web.service" =~ /$re/ }`)
	if got != "master 0" {
		t.Errorf("needrestart reads %q", got)
	}
}

// The tarball installs the same, and takes away what it has installed.
func TestTarball(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	output(t, "tar", "-C", dir, "-xzf", file(t, newerOnce, tarballs))
	inside, err := filepath.Glob(filepath.Join(dir, "fugue-"+newer+"-linux-*", "install.sh"))
	if err != nil || len(inside) != 1 {
		t.Fatalf("install.sh in %s: %v, %v", dir, inside, err)
	}
	root := filepath.Join(dir, "root")
	install := func(args ...string) {
		t.Helper()
		output(t, append([]string{"env", "DESTDIR=" + root, "PREFIX=/opt/fugue", inside[0]}, args...)...)
	}
	install()
	install() // over itself
	if v := output(t, root+"/opt/fugue/bin/fugue", "version"); !strings.HasPrefix(v, "fugue "+newer+" ") {
		t.Errorf("it is %s", v)
	}
	if to, err := os.Readlink(root + "/opt/fugue/lib/systemd/system-generators/fugue-generator"); err != nil || to != "/opt/fugue/bin/fugue" {
		t.Errorf("the generator is %s, %v", to, err)
	}
	unit, err := os.ReadFile(root + "/opt/fugue/lib/systemd/system/fugue@.service")
	if err != nil || !strings.Contains(string(unit), "ExecStart=/opt/fugue/bin/fugue run") || strings.Contains(string(unit), "/usr/bin/fugue") {
		t.Errorf("the template is %s, %v", unit, err)
	}
	for _, path := range []string{"share/man/man1/fugue.1.gz", "share/man/man5/fugue.toml.5.gz", "share/bash-completion/completions/fugue"} {
		if _, err := os.Stat(root + "/opt/fugue/" + path); err != nil {
			t.Error(err)
		}
	}
	install("--uninstall")
	if left := output(t, "find", root, "!", "-type", "d"); left != "" {
		t.Errorf("it leaves %s", left)
	}
}
