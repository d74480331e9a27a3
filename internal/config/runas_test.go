package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A master is the workers' user unless the file takes root, and says what does.
func TestRunsAs(t *testing.T) {
	const c, web = "command = [\"x\"]\n", "user = \"web\"\n"
	for _, tt := range []struct{ name, text, why string }{
		{"plain", web, ""},
		{"a group", web + "group = 'www'\nsupplementary_groups = ['ssl-cert', '77']", ""},
		{"no user", "", "no user is said"},
		{"root", "user = 'root'", "user is root"},
		{"root by number", "user = '0'", "user is root"},
		{"nobody", "user = 'nobody'", "as nobody too"},
		{"a name that is none to systemd", "user = 'a.b'", `"a.b" is no user or group to systemd`},
		{"a group that is none", web + "group = 'a b'", `"a b" is no user`},
		{"a supplementary group that is none", web + "supplementary_groups = ['a', 'b c']", `"b c" is no user`},
		{"a port", web + "listen.a.stream = '8080'", ""},
		{"a low port", web + "listen.a.stream = '443'", "only root binds ports below 1024, such as that of [listen.a]"},
		{"a low port of a virtual machine", web + "listen.a.stream = 'vsock:2:80'", "only root binds ports below 1024"},
		{"a low port that systemd binds", web + "listen.a.stream = '443'\ninstall.sockets = true", ""},
		{"an owner", web + "[listen.a]\nstream = '/run/fugue/web/a'\ngroup = 'x'", "only root gives [listen.a] another owner"},
		{"a socket's path", web + "listen.a.stream = '/run/a'", "the socket of [listen.a] may be where only root writes"},
		{"one in the runtime directory", web + "listen.a.stream = '/run/fugue/web/a'", ""},
		{"one that systemd binds", web + "[listen.a]\nstream = '/run/a'\nuser = 'x'\n[install]\nsockets = true", ""},
		{"no path", web + "listen.a.stream = '@a'", ""},
		{"environment files", web + "environment_files = ['-/etc/web/env']", "environment_files may be for root alone to read"},
		{"a PID file", web + "pid_file = '/run/web.pid'", "pid_file may be where only root writes"},
		{"one in the runtime directory", web + "pid_file = '/run/fugue/web/pid'", ""},
		{"temporary directories", web + "tmp_directory = '/srv/tmp'", "tmp_directory may be"},
		{"common ones", web + "tmp_directory = '/var/tmp'", ""},
		{"own ones", web + "tmp_directory = 'runtime'", ""},
		{"the master's log", web + "log.master = '/var/log/web.log'", "log.master may be"},
		{"the workers' log", web + "log.stdout = '/var/log/web/out.log'", ""},
		{"a group that controls", web + "control.group = 'deploy'", "only root gives the control socket to a group"},
		{"a group that looks", web + "control.readers = 'adm'", ""},
		{"limits that systemd gives", web + "[limits]\nnofile = 65536\ncore = 'infinity'\nnice = 5\noom_score_adj = 100", ""},
		{"more files", web + "limits.nofile = 'infinity'", "only root raises limits.nofile"},
		{"more processes", web + "limits.nproc = 10", "only root raises limits.nproc"},
		{"nicer", web + "limits.nice = -1", "only root lowers limits.nice"},
		{"dearer", web + "limits.oom_score_adj = -1", "only root lowers limits.oom_score_adj"},
		{"rights of the network", web + "limits.ambient_capabilities = ['NET_BIND_SERVICE', 'NET_RAW']", ""},
		{"other rights", web + "limits.ambient_capabilities = ['SETUID']", "could not have CAP_SETUID kept from it"},
		{"no rights", web + "limits.ambient_capabilities = []", ""},
		{"a bounding set", web + "limits.capability_bounding_set = []", ""},
		{"one that the unit has not", web + "limits.capability_bounding_set = []\ninstall.hardening = 'off'", "only root drops capabilities"},
		{"a line of the unit", web + "systemd.service.MemoryMax = '1G'", ""},
		{"a command of the unit", web + "systemd.service.ExecStartPre = '/bin/true'", "[systemd.service] says ExecStartPre="},
		{"whose it is", web + "systemd.service.DynamicUser = true", "[systemd.service] says DynamicUser="},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, err := parseOne(t, c+tt.text, Options{Name: "web"})
			if err != nil {
				t.Fatal(err)
			}
			want := RunAsUser
			if tt.why != "" {
				want = RunAsRoot
			}
			if who, why := cfg.RunsAs(); who != want || !strings.Contains(why, tt.why) || (why == "") != (tt.why == "") {
				t.Errorf("as %s, %q; want as %s, %q", who, why, want, tt.why)
			}
		})
	}
	for text, want := range map[string]RunAs{
		"user = 'web'\ninstall.run_as = 'root'": RunAsRoot, "install.run_as = 'root'": RunAsRoot,
		"user = 'nobody'\nenvironment_files = ['/e']\ninstall.run_as = 'user'": RunAsUser,
	} {
		cfg, err := parseOne(t, c+text, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if who, why := cfg.RunsAs(); who != want || why != "" {
			t.Errorf("%s: as %s, %q", text, who, why)
		}
	}
}

// What only root may read is for a root master to read.
func TestPrivateFiles(t *testing.T) {
	// Not t.TempDir, which is private itself.
	top, err := os.MkdirTemp("/tmp", "fugue-config-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(top) })
	if err := os.Chmod(top, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(top, "web.toml")
	write(t, path, "command = ['x']\nuser = 'web'\n")
	if err := os.Mkdir(path+".d", 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, path+".d/a.toml", "workers = 2\n")
	private := func() string {
		t.Helper()
		cfg, err := Load(path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if who, _ := cfg.RunsAs(); (who == RunAsRoot) != (cfg.Private != "") {
			t.Errorf("run as %s, private %q", who, cfg.Private)
		}
		return cfg.Private
	}
	if p := private(); p != "" {
		t.Errorf("%s is private", p)
	}
	for _, p := range []string{path, path + ".d", path + ".d/a.toml", top} {
		info, err := os.Stat(p)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(p, info.Mode()&^0o007); err != nil {
			t.Fatal(err)
		}
		if got := private(); got != p {
			t.Errorf("%q is private, want %s", got, p)
		}
		if err := os.Chmod(p, info.Mode()); err != nil {
			t.Fatal(err)
		}
	}
}
