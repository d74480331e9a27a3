package config

import (
	"strings"
	"testing"
)

func TestInstallErrors(t *testing.T) {
	const c = "command = [\"x\"]\n"
	const on = "[install]\nsockets = true\n[listen.a]\n"
	for _, tt := range []struct{ name, text, want string }{
		{"no unit", c + `install.after = ["redis"]`, `2:18: error: install.after[0]: "redis" is not the name of a unit such as "multi-user.target"`},
		{"a template", c + `install.wanted_by = ["a@.service"]`, `is not the name of a unit`},
		{"a line of its own", c + `install.wants = ["a.service\nUser=root"]`, `is not the name of a unit`},
		{"no listener", c + "[install]\nsockets = true", `3:1: error: install.sockets needs a [listen.NAME] to make a .socket unit of`},
		{"sockets.target", c + `install.wanted_by = ["sockets.target"]`, `sockets.target is for .socket units; say sockets = true too`},
		{"port 0", c + on + `stream = "127.0.0.1:0"`, `5:1: error: listen.a.stream: "127.0.0.1:0" in a .socket unit: systemd needs a port`},
		{"only port 0", c + on + `stream = "0"`, `systemd needs a port`},
		{"interface", c + on + `stream = "[fe80::1]:80%eth0"`, `the interface may not be there yet`},
		{"two lines", c + on + "stream = \"/run/a\\nMark=1\"", `it contains a line break`},
		{"joins the next", c + on + `stream = '/run/a\'`, `would join the next line`},
		{"long", c + on + `stream = "/` + strings.Repeat("a", 107) + `"`, `longer than 107 bytes`},
		{"not normal", c + on + `stream = "/run/../a"`, `systemd takes only a path without . and ..`},
		{"vsock", c + on + `stream = "vsock:x"`, `not of the form vsock:CID:PORT`},
		{"owner", c + on + "stream = '/run/a'\nuser = 'a b'", `6:1: error: listen.a.user: "a b" is no user or group to systemd`},
		{"run_as without user", c + `install.run_as = "user"`, `2:9: error: install.run_as: "user" needs a user`},
		{"run_as and a low port", c + "user='w'\n[install]\nrun_as='user'\n[listen.a]\nstream = '443'", `4:1: error: install.run_as: only root binds ports below 1024, such as that of [listen.a]`},
		{"run_as and an owner", c + "user='w'\n[install]\nrun_as='user'\n[listen.a]\nstream = '/run/a'\ngroup = 'x'", `only root gives [listen.a] another owner`},
		{"no key", c + "[systemd.service]\n\"a=b\" = 1", `3:1: error: "a=b" cannot be a key of a unit file`},
		{"ours", c + "[systemd.service]\nExecStart = '/bin/sh'", `3:1: error: ExecStart= is for fugue to write: a unit with another command does not run the pool`},
		{"ours of a socket", c + "[systemd.socket]\nAccept = true", `Accept= is for fugue to write`},
		{"control character", c + "[systemd.unit]\nDescription = [\"a\", \"b\\nc\"]", `3:21: error: systemd.unit.Description[1]: it contains a line break`},
		{"backslash", c + "[systemd.unit]\nDescription = 'a\\'", `would join the next line`},
		{"table", c + "[systemd.service.Nice]\nx = 1", `systemd.service.Nice: it must be a string, a whole number, true or false`},
		{"unknown section", c + "[systemd.timer]\nx = 1", `unknown key "timer" in [systemd]`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parseOne(t, tt.text, Options{})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v\nwant %s", err, tt.want)
			}
		})
	}
	for _, text := range []string{
		on + `stream = "8080"`, on + `stream = "@a"`, on + `stream = "vsock::1"`, on + `stream = "[::1]:80"`,
		"[install]\nrun_as = 'user'\n[listen.a]\nstream = '1024'", "[install]\nrun_as = 'user'\nsockets = true\n[listen.a]\nstream = '0.0.0.0:80'",
	} {
		if _, err := parseOne(t, c+"user = 'w'\n"+text, Options{}); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// A file that is broken keeps the sockets that it said, and its errors.
func TestSalvage(t *testing.T) {
	const sockets = "[install]\nsockets = true\n[listen.http]\nstream = \"8080\"\n"
	for _, tt := range []struct{ name, text, want string }{
		{"no TOML", "command = [\"x\"\n" + sockets, `web.toml:2:1: error: `},
		{"no TOML at the end", "command = [\"x\"]\n" + sockets + "[stop]\nsignal = TERM\n", `web.toml:7:10: error: `},
		{"a string that is not closed", "command = [\"x\"]\n" + sockets + "[stop]\nsignal = \"\"\"\nTERM\n", `web.toml:`},
		{"unknown key", "command = [\"x\"]\nworker = 1\n" + sockets, `web.toml:2:1: error: unknown key "worker"; did you mean workers?`},
		{"no command", sockets, `web.toml:1:1: error: no command`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := t.TempDir() + "/web.toml"
			write(t, path, tt.text)
			cfg, err := Salvage(path, Options{WorkDir: "/"})
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Count(err.Error(), "\n") > 0 {
				t.Errorf("got %v\nwant %s", err, tt.want)
			}
			if cfg.Name != "web" || !cfg.Install.Sockets || len(cfg.Listeners) != 1 || cfg.Listeners[0].Stream != "8080" {
				t.Errorf("salvaged %+v", cfg)
			}
			if _, loaded := Load(path, Options{}); loaded == nil || loaded.Error() != err.Error() {
				t.Errorf("Load says %v", loaded)
			}
		})
	}
	cfg, err := Salvage(t.TempDir()+"/gone.toml", Options{WorkDir: "/"})
	if err == nil || cfg.Name != "gone" || cfg.Stop.Timeout == 0 {
		t.Errorf("%v %+v", err, cfg)
	}
}
