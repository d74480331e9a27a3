package units

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"fugue/internal/config"
)

var update = flag.Bool("update", false, "write the golden files anew")

func parse(t *testing.T, text string) *config.Config {
	t.Helper()
	cfg, err := config.Parse([]config.File{{Path: "/etc/fugue/web.toml", Text: []byte(text)}}, config.Options{WorkDir: "/"})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

var goldens = map[string]string{
	"bare": "command = ['server']\n",
	"sockets": `command = ["server"]
user = "web"
limits.ambient_capabilities = ["NET_RAW"]
directory = "/srv/the shop/100%"
[stop]
delay = "5s"
timeout = "1min"
[listen.http]
stream = "0.0.0.0:443"
backlog = 4096
reuse_port = true
keep_alive = true
no_delay = true
defer_accept = 10
free_bind = true
receive_buffer = "1M"
send_buffer = "2M"
[listen.six]
stream = "[::]:443"
bind_ipv6_only = "ipv6-only"
[listen."local@a"]
stream = "/run/web/100% mine.sock"
mode = "0660"
user = "web"
group = "adm"
remove_on_stop = false
[listen.log]
datagram = "@log"
[install]
wanted_by = ["multi-user.target"]
wants = ["redis.service"]
after = ["redis.service", "network-online.target"]
sockets = true
[systemd.unit]
Description = "the shop (%n)"
[systemd.service]
MemoryMax = "2G"
WatchdogSec = []
ProtectSystem = "strict"
Environment = ["A=b", "C=d"]
[systemd.socket]
Mark = 7
`,
	"user": `command = ["/home/web/server"]
user = "web"
group = "www"
supplementary_groups = ["ssl-cert"]
limits.ambient_capabilities = ["NET_RAW"]
[listen.http]
stream = "8080"
[install]
wanted_by = ["multi-user.target"]
run_as = "user"
`,
	"auto": `command = ["./server"]
user = "web"
directory = "/srv/web"
environment = { RAILS_ENV = "production" }
[listen.http]
stream = "0.0.0.0:8080"
[listen.local]
stream = "/run/fugue/web/web.sock"
[limits]
nofile = 65536
nice = 5
[install]
wanted_by = ["multi-user.target"]
`,
	"off": "command = ['server']\n[stop]\ntimeout = 'infinity'\n[install]\nhardening = 'off'\n",
}

// The units of each version are written down, and each is one that systemd takes.
func TestGolden(t *testing.T) {
	for name, text := range goldens {
		for _, version := range []int{252, 254, 257} {
			golden(t, fmt.Sprintf("%s.%d", name, version), text, Options{Version: version})
		}
	}
	golden(t, "own.257", "command = ['server']\n[install]\nwanted_by = ['multi-user.target']\n", Options{Version: 257, User: true, Program: "/home/a b/$x/fugue"})
	golden(t, "broken.257", "command = ['server']\n", Options{Version: 257, Why: errors.New("/etc/fugue/web.toml:1:1: error: 100% \x1b[31m wrong\\\nand more")})
}

// systemd fails a unit of a user that is not there without a word of the file:
// such a one is started by root, and the master says where it is written.
func TestUserThatIsNotThere(t *testing.T) {
	cfg := parse(t, "command = ['server']\nuser = 'web'\n")
	for there, want := range map[bool]string{true: "\nUser=web\n", false: "\n# run_as: root, because there is no user \"web\".\n"} {
		all, err := Make(cfg, Options{Version: 257, HasUser: func(name string) bool { return name == "web" && there }})
		if err != nil {
			t.Fatal(err)
		}
		if text := all[0].Text; !strings.Contains(text, want) || strings.Contains(text, "User=web") != there {
			t.Errorf("%v: want %q in\n%s", there, want, text)
		}
	}
}

func golden(t *testing.T, name, text string, o Options) {
	t.Helper()
	all, err := Make(parse(t, text), o)
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, u := range all {
		fmt.Fprintf(&got, "===== %s %s\n%s", u.Name, strings.Join(u.WantedBy, " "), u.Text)
	}
	path := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(path, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || string(want) != got.String() {
		t.Errorf("%s (%v): go test ./units -update, and look at what changed:\n%s", path, err, got.String())
	}
}

// Each unit for this machine's systemd is understood to the last line.
func TestUnitsAreUnderstood(t *testing.T) {
	version := Running("/")
	if version < Oldest {
		t.Fatalf("this machine's systemd is %d", version)
	}
	for name, text := range goldens {
		dir := t.TempDir()
		all, err := Make(parse(t, text), Options{Version: version, Program: "/bin/true"})
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range all {
			if err := os.WriteFile(filepath.Join(dir, u.Name), []byte(u.Text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		t.Run(name, func(t *testing.T) { verify(t, dir, "") })
	}
}

// A pool that needs no root gets a unit that systemd calls safe.
func TestExposure(t *testing.T) {
	sockets := strings.ReplaceAll(goldens["sockets"], "limits.", "#")
	for _, c := range []struct {
		text    string
		version int
		most    float64
	}{
		{goldens["auto"], 252, 2.0}, {goldens["auto"], 257, 2.0}, {sockets, 252, 2.0},
		{strings.ReplaceAll(goldens["auto"], "/srv/", "/home/"), 252, 2.2}, // homes are seen
		{strings.ReplaceAll(goldens["auto"], "8080", "80"), 252, 4.0},      // root's
		{goldens["bare"], 252, 4.0},
	} {
		dir := t.TempDir()
		all, err := Make(parse(t, c.text), Options{Version: c.version, Program: "/bin/true"})
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, all[0].Name)
		if err := os.WriteFile(path, []byte(all[0].Text), 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--no-pager", path).CombinedOutput()
		m := regexp.MustCompile(`exposure level for \S+: ([0-9.]+)`).FindSubmatch(out)
		if err != nil || m == nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if score, _ := strconv.ParseFloat(string(m[1]), 64); score > c.most || score < c.most-0.2 {
			t.Errorf("%s, at most %.1f, and no more than 0.2 below:\n%s", m[1], c.most, all[0].Text)
		}
	}
}

func TestMakeErrors(t *testing.T) {
	for _, name := range []string{"web@", "systemd-x"} {
		cfg := parse(t, pool)
		cfg.Name = name
		if _, err := Make(cfg, Options{}); err == nil || !strings.HasPrefix(err.Error(), "/etc/fugue/web.toml:1:1: error: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	cfg := parse(t, pool)
	cfg.Path = "/etc/a\nb.toml"
	if _, err := Make(cfg, Options{}); err == nil {
		t.Error("a path with a line break")
	}
}

func TestWord(t *testing.T) {
	for s, want := range map[string]string{
		"/usr/bin/fugue": "/usr/bin/fugue", "a b": `"a b"`, `a"b\`: `"a\"b\\"`, "100%": "100%%", "$x": `"$$x"`, "": `""`, "é": `"é"`, "a;b": `"a;b"`,
	} {
		if got := word(s, true); got != want {
			t.Errorf("%q: %s, want %s", s, got, want)
		}
	}
}

func TestVersion(t *testing.T) {
	root := t.TempDir()
	if v := Running(root); v != 0 {
		t.Errorf("nothing: %d", v)
	}
	for path, text := range map[string]string{
		"usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-257.so": "",
		"usr/lib64/systemd/libsystemd-shared-256.7-1.fc41.so":       "",
	} {
		path = filepath.Join(root, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if v := Running(root); v != 257 {
		t.Errorf("installed: %d", v)
	}
	maps := "7f00-7f01 r-xp 0 00:00 1 /usr/lib/x86_64-linux-gnu/systemd/libsystemd-core-252.so\n7f02 r-xp 0 0 1 /usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-252.so\n"
	if err := errors.Join(os.MkdirAll(root+"/proc/1", 0o755), os.WriteFile(root+"/proc/1/maps", []byte(maps), 0o644)); err != nil {
		t.Fatal(err)
	}
	if v := Running(root); v != 252 {
		t.Errorf("runs: %d", v)
	}
}
