package config

import (
	"encoding/json"
	"errors"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const full = `command = ["./bin/server", "--fd", "{fd:http}", "{{x}}"]
preset = "puma"
dialect = ["systemd", "puma"]
directory = "/srv/web/current"
workers = 4
user = "web"
group = "www"
supplementary_groups = ["ssl-cert", "video"]
environment = { RAILS_ENV = "production", "PORT" = "{port:http}" }
environment_files = ["/etc/web/env", "-/etc/web/local", "near"]
orphans = "stop"
when_empty = "exit"
stdin = "socket"
tmp_directory = "tmp"
pid_file = "web.pid"
watch = ["src", "/srv/web/lib/"]

[listen.http]
stream = "0.0.0.0:8080"
backlog = 512
reuse_port = true
keep_alive = false
no_delay = true
defer_accept = "5s"
free_bind = true
bind_ipv6_only = "both"
receive_buffer = "64K"
send_buffer = 4096
nonblocking = true

[listen.admin]
stream = "/run/web/admin.sock"
mode = "0660"
user = "web"
group = "adm"
remove_on_stop = false

[listen.dns]
datagram = "53"

[listen.abstract]
stream = "@x"

[reload]
max_surge = "25%"
max_unavailable = 1
canary = 2
bake = "10s"
tolerate = 3
check = ["./bin/server", "--check", "{addr:http}"]
timeout = "infinity"

[ready]
when = "started"
delay = 0.5
timeout = "2min"

[stop]
delay = "1s"
signal = "SIGQUIT"
timeout = 10
max_draining = 7

[restart]
min_uptime = "3s"
backoff = "200ms"
max_backoff = "1min 30s"

[watchdog]
timeout = "20s"
signal = "QUIT"
kill_after = "5s"
stuck = "30s"
replace_first = true

[recycle]
max_age = "1d"
max_memory = "500M"

[limits]
nofile = "1024:65536"
core = "infinity"
stack = "8M"
nproc = 100
cpu = "10min"
umask = "0027"
nice = -5
oom_score_adj = 500
no_new_privs = true
capability_bounding_set = ["CAP_NET_BIND_SERVICE", "net_raw"]
ambient_capabilities = ["cap_net_raw"]
cgroup = true
memory_max = "1G"
memory_high = "infinity"
tasks_max = 512
cpu_weight = 50

[log]
stdout = "relay:/var/log//web-{worker}.log"
stderr = "near/err.log"
reopen_signal = "USR2"
master = "/var/log/fugue.log"
format = "json"
level = "warning"

[control]
group = "adm"
readers = "staff"

[install]
wanted_by = ["multi-user.target", "sockets.target"]
wants = ["redis.service"]
after = ["redis.service", "db@a.service"]
sockets = true
hardening = "off"
run_as = "user"

[systemd.unit]
Description = "the shop"

[systemd.service]
MemoryMax = "2G"
ExecStartPre = ["/bin/a", "/bin/b"]
PrivateTmp = true
Nice = 5
WatchdogSec = []

[systemd.socket]
Mark = 7
`

func parseOne(t *testing.T, text string, o Options) (*Config, error) {
	t.Helper()
	if o.WorkDir == "" {
		o.WorkDir = "/srv/dir"
	}
	return Parse([]File{{Path: "/etc/fugue/web.toml", Text: []byte(text)}}, o)
}

func ptr[T any](v T) *T { return &v }

var sameTemplates = cmp.Comparer(func(a, b Template) bool { return a.String() == b.String() })

func templates(words ...string) []Template {
	all := make([]Template, len(words))
	for i, w := range words {
		all[i].text = w
	}
	return all
}

func TestEveryKey(t *testing.T) {
	got, err := parseOne(t, full, Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		Name:                "web",
		Path:                "/etc/fugue/web.toml",
		Command:             templates("./bin/server", "--fd", "{fd:http}", "{{x}}"),
		Preset:              "puma",
		Dialects:            []Dialect{DialectSystemd, DialectPuma},
		Directory:           "/srv/web/current",
		Workers:             4,
		User:                "web",
		Group:               "www",
		SupplementaryGroups: []string{"ssl-cert", "video"},
		Environment:         []Variable{{"RAILS_ENV", Template{text: "production"}}, {"PORT", Template{text: "{port:http}"}}},
		EnvironmentFiles:    []EnvironmentFile{{"/etc/web/env", false}, {"/etc/web/local", true}, {"/etc/fugue/near", false}},
		Orphans:             OrphansStop,
		WhenEmpty:           EmptyExit,
		Stdin:               StdinSocket,
		TmpDirectory:        "/etc/fugue/tmp",
		PIDFile:             "/etc/fugue/web.pid",
		Watch:               []string{"/etc/fugue/src", "/srv/web/lib"},
		Listeners: []Listener{
			{Name: "http", Stream: "0.0.0.0:8080", Backlog: 512, ReusePort: ptr(true), KeepAlive: ptr(false), NoDelay: ptr(true),
				DeferAccept: 5 * time.Second, FreeBind: ptr(true), BindIPv6Only: "both", ReceiveBuffer: 65536, SendBuffer: 4096, NonBlocking: ptr(true)},
			{Name: "admin", Stream: "/run/web/admin.sock", Mode: 0o660, User: "web", Group: "adm"},
			{Name: "dns", Datagram: "53"},
			{Name: "abstract", Stream: "@x"},
		},
		Reload: Reload{MaxSurge: Amount{25, true}, MaxUnavailable: Amount{1, false}, Canary: 2, Bake: 10 * time.Second, Tolerate: 3,
			Check: templates("./bin/server", "--check", "{addr:http}"), Timeout: Infinity},
		Ready:    Ready{When: WhenStarted, Delay: 500 * time.Millisecond, Timeout: 2 * time.Minute},
		Stop:     Stop{Delay: time.Second, Signal: 3, Timeout: 10 * time.Second, MaxDraining: 7},
		Restart:  Restart{MinUptime: 3 * time.Second, Backoff: 200 * time.Millisecond, MaxBackoff: 90 * time.Second},
		Watchdog: Watchdog{Timeout: 20 * time.Second, Signal: 3, KillAfter: 5 * time.Second, Stuck: 30 * time.Second, ReplaceFirst: true},
		Recycle:  Recycle{MaxAge: 24 * time.Hour, MaxMemory: 500 << 20},
		Limits: Limits{
			Rlimits: []Rlimit{{"nofile", 7, 1024, 65536}, {"core", 4, Unlimited, Unlimited}, {"stack", 3, 8 << 20, 8 << 20},
				{"nproc", 6, 100, 100}, {"cpu", 0, 600, 600}},
			Umask: 0o027, Nice: ptr(-5), OOMScoreAdj: ptr(500), NoNewPrivs: true,
			CapabilityBoundingSet: ptr(Capabilities(1<<10 | 1<<13)), AmbientCapabilities: ptr(Capabilities(1 << 13)),
			Cgroup: ptr(true), MemoryMax: 1 << 30, MemoryHigh: Unlimited, TasksMax: 512, CPUWeight: 50,
		},
		Log: Log{Stdout: Output{ToRelay, Template{text: "/var/log/web-{worker}.log"}}, Stderr: Output{ToFile, Template{text: "/etc/fugue/near/err.log"}},
			ReopenSignal: 12, Master: "/var/log/fugue.log", Format: "json", Level: "warning"},
		Control: Control{Group: "adm", Readers: "staff"},
		Install: Install{
			WantedBy: []string{"multi-user.target", "sockets.target"}, Wants: []string{"redis.service"}, After: []string{"redis.service", "db@a.service"},
			Sockets: true, Hardening: HardeningOff, RunAs: RunAsUser,
		},
		Systemd: Systemd{
			Unit:    []Setting{{"Description", []string{"the shop"}}},
			Service: []Setting{{"MemoryMax", []string{"2G"}}, {"ExecStartPre", []string{"/bin/a", "/bin/b"}}, {"PrivateTmp", []string{"true"}}, {"Nice", []string{"5"}}, {Key: "WatchdogSec"}},
			Socket:  []Setting{{"Mark", []string{"7"}}},
		},
	}
	if diff := cmp.Diff(want, got, sameTemplates, cmpopts.IgnoreFields(Config{}, "Positions")); diff != "" {
		t.Error(diff)
	}

	// The state of the master carries it to its successor.
	text, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	var back *Config
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(got, back, cmp.AllowUnexported(Template{}, part{}), cmpopts.EquateEmpty()); diff != "" {
		t.Error("after JSON:", diff)
	}
}

func TestEveryKeyIsTried(t *testing.T) {
	for _, k := range Keys() {
		last := k.Name[strings.LastIndexByte(k.Name, '.')+1:]
		if !strings.Contains(full, "\n"+last+" = ") && last != "command" {
			switch last {
			case "as", "data", "fsize", "locks", "memlock", "msgqueue", "rss", "rtprio", "sigpending", "nofile":
				continue // read like the others
			}
			t.Errorf("%s is not in the text of this test", k.Name)
		}
	}
}

func TestDefaults(t *testing.T) {
	got, err := parseOne(t, `command = ["x"]`, Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		Name: "web", Path: "/etc/fugue/web.toml", Command: templates("x"), Directory: "/srv/dir", Workers: 1, WhenEmpty: EmptyHold,
		Reload:   Reload{MaxSurge: Amount{Value: 1}, Canary: 1, Timeout: 5 * time.Minute},
		Ready:    Ready{When: WhenAuto, Timeout: 90 * time.Second},
		Stop:     Stop{Signal: 15, Timeout: 30 * time.Second},
		Restart:  Restart{MinUptime: time.Second, Backoff: 100 * time.Millisecond, MaxBackoff: 30 * time.Second},
		Watchdog: Watchdog{Signal: 6, KillAfter: 30 * time.Second},
		Recycle:  Recycle{MaxAge: Infinity},
		Limits:   Limits{Umask: -1},
		Log:      Log{ReopenSignal: 10},
		Install:  Install{Hardening: HardeningDefault, RunAs: RunAsAuto},
	}
	if diff := cmp.Diff(want, got, sameTemplates, cmpopts.IgnoreFields(Config{}, "Positions")); diff != "" {
		t.Error(diff)
	}
	got, err = parseOne(t, "command = ['x']\nworkers = 'auto'\ndirectory = 'app'\n[listen.a]\nstream = '/run/a'", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got.Workers != runtime.GOMAXPROCS(0) || !got.WorkersAuto {
		t.Errorf("auto: %d %v", got.Workers, got.WorkersAuto)
	}
	if got.Directory != "/etc/fugue/app" {
		t.Errorf("a relative directory starts from the file: got %s", got.Directory)
	}
	if !got.Listeners[0].RemoveOnStop {
		t.Error("the socket file would be left behind")
	}
}

func TestErrors(t *testing.T) {
	const c = "command = [\"x\"]\n"
	for _, tt := range []struct{ name, text, want string }{
		{"syntax", "workers = \n", `1:11: error: unexpected character U+000A at start of value`},
		{"twice", c + "workers = 1\nworkers = 2", `3:1: error: key workers is already defined`},
		{"unknown key near", c + "[reload]\nmax_suge = 1", `3:1: error: unknown key "max_suge" in [reload]; did you mean max_surge?`},
		{"unknown key at the top", c + "worker = 1", `2:1: error: unknown key "worker"; did you mean workers?`},
		{"swapped letters", c + "[raedy]\nwhen = \"auto\"", `2:2: error: unknown key "raedy"; did you mean ready?`},
		{"unknown table", c + "[mood]\nx = 1", `2:2: error: unknown key "mood"`},
		{"watch", c + "watch = \"src\"", `2:1: error: watch must be an array of paths, not "src"; say watch = ["src"]`},
		{"watch nothing", c + "watch = [\"\"]", `2:10: error: watch[0] is empty`},
		{"TMPDIR", c + "tmp_directory = \"runtime\"\nenvironment = { TMPDIR = \"/x\" }", `3:17: error: environment.TMPDIR: tmp_directory sets it, for each worker to its own`},
		{"stdin", c + "stdin = \"inherit\"", `2:1: error: stdin must be "socket" or "null", not "inherit"`},
		{"key of a table at the top", c + "max_surge = 1", `2:1: error: unknown key "max_surge"; it belongs in [reload]`},
		{"key of several tables", c + "timeout = 1", `2:1: error: unknown key "timeout"; it belongs in [ready] or [reload] or [stop] or [watchdog]`},
		{"misspelt key of a table at the top", c + "max_surg = 1", `2:1: error: unknown key "max_surg"; did you mean max_surge in [reload]?`},
		{"top key in a table", c + "[stop]\nworkers = 1", `3:1: error: unknown key "workers" in [stop]; it belongs at the top of the file, before the first [table]`},
		{"unknown in a listener", c + "[listen.http]\nstream = \"80\"\nback_log = 1", `4:1: error: unknown key "back_log" in [listen.http]; did you mean backlog?`},
		{"escapes in a key", c + `"a\nb\u001b" = 1`, `2:1: error: unknown key "a\nb\x1b"`},
		{"table wanted", c + "reload = 3", `2:1: error: reload must be a table, not 3`},
		{"array of tables", c + "[[listen]]\nstream = '80'", `2:3: error: listen must be a table, not an array`},
		{"value wanted", c + "[workers]\nx = 1", `2:2: error: workers must be a whole number or "auto", not a table`},

		{"no command", "workers = 1", `1:1: error: no command: say what the workers run, command = ["./server"] in the file or as the last arguments`},
		{"command as a string", `command = "./bin/server --port 80"`, `1:1: error: command must be an array of words, not "./bin/server --port 80"; say command = ["./bin/server", "--port", "80"]`},
		{"command for a shell", `command = "a | b"`, `1:1: error: command must be an array of words, not "a | b"; for a shell say ["sh", "-c", "exec …"]`},
		{"empty command", `command = []`, `1:1: error: command is empty`},
		{"empty program", `command = [""]`, `1:12: error: command[0]: the program is empty`},
		{"number in the command", "command = [\"x\",\n  80]", `2:3: error: command[1] must be a string, not 80`},
		{"NUL in the command", `command = ["x", "a\u0000b"]`, `1:17: error: command[1]: it contains a NUL byte`},
		{"unknown preset", c + `preset = "apache"`, `2:1: error: preset must be "gunicorn", "hypercorn", "java", "nginx", "node", "php-fpm", "puma", "starlet", "starman", "unicorn", "uvicorn" or "uwsgi", not "apache"`},
		{"dialect as a string", c + `dialect = "nginx"`, `2:1: error: dialect must be an array of dialects such as ["systemd", "einhorn"], not "nginx"; say dialect = ["nginx"]`},
		{"unknown dialect", c + "dialect = ['systemd',\n 'circus']", `3:2: error: dialect[1] must be "systemd", "einhorn", "server-starter", "nginx", "php-fpm", "unicorn" or "puma", not "circus"`},
		{"dialect twice", c + "dialect = ['puma', 'puma']", `2:20: error: dialect[1]: "puma" is said already`},
		{"check as a string", c + "[reload]\ncheck = \"a b\"", `3:1: error: reload.check must be an array of words, not "a b"; say check = ["a", "b"]`},

		{"log word", c + "[log]\nstdout = \"jurnal\"", `3:1: error: log.stdout must be "inherit", "journal", "relay", "relay:PATH", "null" or a path, not "jurnal"`},
		{"log directory", c + "[log]\nstderr = \"/var/log/\"", `3:1: error: log.stderr must be "inherit", "journal", "relay", "relay:PATH", "null" or a path, not "/var/log/": it names a directory`},
		{"log placeholder", c + "[log]\nstderr = \"relay:/x/{port:a}\"", `3:1: error: log.stderr must be "inherit", "journal", "relay", "relay:PATH", "null" or a path, not "relay:/x/{port:a}": placeholder {port:a}: a log file's name can have {worker} and {generation}`},
		{"relay without a path", c + "[log]\nstdout = \"relay:\"", `3:1: error: log.stdout must be "inherit", "journal", "relay", "relay:PATH", "null" or a path, not "relay:"`},
		{"master's log", c + "[log]\nmaster = \"relay\"", `3:1: error: log.master must be "stderr", "journal" or a path, not "relay"`},
		{"reopen signal", c + "[log]\nreopen_signal = \"KILL\"", `3:1: error: log.reopen_signal must be a signal such as "USR1", or "none", not "KILL": no program can catch it`},
		{"log format", c + "[log]\nformat = \"xml\"", `3:1: error: log.format must be "auto", "text" or "json", not "xml"`},

		{"workers", c + `workers = "four"`, `2:1: error: workers must be a whole number or "auto", not "four"`},
		{"workers below 0", c + `workers = -1`, `2:1: error: workers must be a whole number or "auto", not -1: less than 0`},
		{"workers beyond reason", c + `workers = 44444`, `2:1: error: workers must be a whole number or "auto", not 44444: more than 10000`},
		{"number as text", c + `user = 1000`, `2:1: error: user must be a string, not 1000`},
		{"empty text", c + `user = ""`, `2:1: error: user must be a string, not "": leave the key out instead`},
		{"date", c + `user = 1979-05-27`, `2:1: error: user must be a string, not a date or time`},
		{"groups", c + `supplementary_groups = ["a", ""]`, `2:30: error: supplementary_groups[1] is empty`},
		{"variable's name", c + `environment = { "A-B" = "x" }`, `2:17: error: "A-B" cannot name an environment variable: letters, digits and _ only, and no digit first`},
		{"reserved variable", c + "[environment]\nLISTEN_FDS = \"1\"", `3:1: error: environment.LISTEN_FDS is for fugue to set`},
		{"variable's value", c + "environment.A = 1", `2:13: error: environment.A must be a string, not 1`},
		{"environment", c + "environment = [\"A=1\"]", `2:1: error: environment must be a table such as { LANG = "C.UTF-8" }, not an array`},
		{"environment file", c + "environment_files = [\"-\"]", `2:22: error: environment_files[0] is empty`},

		{"no address", c + "[listen.http]\nbacklog = 1", `2:9: error: [listen.http] has no address: say stream = "8080" or datagram = "53"`},
		{"both addresses", c + "[listen.a]\nstream = \"1\"\ndatagram = \"1\"", `4:1: error: [listen.a] has both stream and datagram; one listener is one of them`},
		{"host name", c + "[listen.a]\nstream = \"localhost:80\"", `3:1: error: listen.a.stream: "localhost:80" is not an address: PORT, IPV4:PORT, [IPV6]:PORT, /path or @name; names of hosts are not looked up`},
		{"as Go writes it", c + "[listen.a]\nstream = \":80\"", `3:1: error: listen.a.stream: ":80": for all addresses say "80"`},
		{"port", c + "[listen.a]\nstream = \"127.0.0.1:70000\"", `3:1: error: listen.a.stream: "70000" is not a port, 0 to 65535`},
		{"IPv6", c + "[listen.a]\nstream = \"[1.2.3.4]:80\"", `3:1: error: listen.a.stream: "1.2.3.4" is not an IPv6 address`},
		{"same address", c + "[listen.b]\nstream = \"80\"\n[listen.a]\nstream = \"80\"", `5:1: error: listen.a.stream: "80" is the address of [listen.b] already`},
		{"unix option on tcp", c + "[listen.a]\nstream = \"80\"\nmode = \"0600\"", `4:1: error: listen.a.mode: only for unix sockets with a path, and "80" is not`},
		{"path option on an abstract name", c + "[listen.a]\nstream = \"@a\"\nremove_on_stop = true", `4:1: error: listen.a.remove_on_stop: only for unix sockets with a path, and "@a" is not`},
		{"tcp option on unix", c + "[listen.a]\nstream = \"/a\"\nno_delay = true", `4:1: error: listen.a.no_delay: only for TCP sockets, and "/a" is not`},
		{"internet option on unix", c + "[listen.a]\nstream = \"/a\"\nfree_bind = true", `4:1: error: listen.a.free_bind: only for internet sockets, and "/a" is not`},
		{"stream option on udp", c + "[listen.a]\ndatagram = \"53\"\nbacklog = 5", `4:1: error: listen.a.backlog: only for stream sockets, and "53" is not`},
		{"mode as a number", c + "[listen.a]\nstream = \"/a\"\nmode = 660", `4:1: error: listen.a.mode must be an octal string such as "0660", not 660`},
		{"mode too large", c + "[listen.a]\nstream = \"/a\"\nmode = \"1777\"", `4:1: error: listen.a.mode must be an octal string such as "0660", not "1777": it has to be from 0001 to 0777`},
		{"ipv6 only", c + "[listen.a]\nstream = \"80\"\nbind_ipv6_only = true", `4:1: error: listen.a.bind_ipv6_only must be "default", "both" or "ipv6-only", not true`},
		{"buffer", c + "[listen.a]\nstream = \"80\"\nsend_buffer = \"4G\"", `4:1: error: listen.a.send_buffer must be a size such as "64K", not "4G": it has to be from 1 to 2147483647 bytes`},
		{"boolean", c + "[listen.a]\nstream = \"80\"\nreuse_port = 1", `4:1: error: listen.a.reuse_port must be true or false, not 1`},
		{"listener's name", c + "[listen.\"a:b\"]\nstream = \"80\"", `2:9: error: "a:b" cannot name a listener: a name is letters, digits and _.@- after a letter or digit, at most 64`},
		{"name of the store", c + "[listen.\"fugue.x\"]\nstream = \"80\"", `2:9: error: "fugue.x" cannot name a listener: names that begin with fugue. are those of the fd store`},

		{"nothing may move", c + "[reload]\nmax_surge = \"0%\"", `3:1: error: reload.max_surge and reload.max_unavailable are both 0: no worker could ever be replaced`},
		{"amount", c + "[reload]\nmax_surge = \"x%\"", `3:1: error: reload.max_surge must be a number of workers or a percentage such as "25%", not "x%"`},
		{"more than all", c + "[reload]\nmax_unavailable = \"101%\"", `3:1: error: reload.max_unavailable: 101% of the workers are more than all`},
		{"no end", c + "[reload]\ntimeout = 0", `3:1: error: reload.timeout must be a time such as "90s" or "1min 30s", not 0: for no end say "infinity"`},
		{"endless bake", c + "[reload]\nbake = \"infinity\"", `3:1: error: reload.bake must be a time such as "90s" or "1min 30s", not "infinity": it has to end`},
		{"when", c + "[ready]\nwhen = \"later\"", `3:1: error: ready.when must be "auto", "notify", "listening" or "started", not "later"`},
		{"delay alone", c + "[ready]\ndelay = 1", `3:1: error: ready.delay needs when = "started", and ready.when is "auto"`},
		{"delay too long", c + "[ready]\nwhen = \"started\"\ndelay = 5\ntimeout = 5", `4:1: error: ready.delay is not less than ready.timeout: no worker could ever be ready`},
		{"duration", c + "[stop]\ntimeout = \"10 parsecs\"", `3:1: error: stop.timeout must be a time such as "90s" or "1min 30s", not "10 parsecs": unknown unit "parsecs", known are ns us ms s m h d w M y`},
		{"duration below 0", c + "[stop]\ntimeout = -1", `3:1: error: stop.timeout must be a time such as "90s" or "1min 30s", not -1: less than 0`},
		{"signal", c + "[stop]\nsignal = \"TERMINATE\"", `3:1: error: stop.signal must be a signal such as "TERM", not "TERMINATE": no such signal`},
		{"signal that pauses", c + "[stop]\nsignal = 19", `3:1: error: stop.signal must be a signal such as "TERM", not 19: it pauses a worker and does not end it`},
		{"backoff", c + "[restart]\nbackoff = \"1min\"", `3:1: error: restart.max_backoff is less than restart.backoff`},
		{"rlimit", c + "[limits]\nnofile = \"many\"", `3:1: error: limits.nofile must be a number, "infinity" or "SOFT:HARD", not "many": "many" is not a number`},
		{"rlimit upside down", c + "[limits]\nas = \"2G:1G\"", `3:1: error: limits.as must be a size such as "64M", "infinity" or "SOFT:HARD", not "2G:1G": the soft limit is above the hard one`},
		{"capability", c + "[limits]\ncapability_bounding_set = [\"CAP_CHOWN\", \"CAP_NET_BIN_SERVICE\"]", `3:41: error: limits.capability_bounding_set[1]: unknown capability "CAP_NET_BIN_SERVICE"; did you mean CAP_NET_BIND_SERVICE?`},
		{"no capability", c + "[limits]\nambient_capabilities = [\"root\"]", `3:25: error: limits.ambient_capabilities[0]: unknown capability "root"; capabilities(7) lists them`},
		{"all but a capability", c + "[limits]\ncapability_bounding_set = [\"~CAP_SYS_ADMIN\"]", `3:28: error: limits.capability_bounding_set[0]: "~CAP_SYS_ADMIN": list the capabilities that are kept; there is no set of all but some`},
		{"one capability", c + "[limits]\nambient_capabilities = \"CAP_KILL\"", `3:1: error: limits.ambient_capabilities must be an array of names such as ["CAP_NET_BIND_SERVICE"], not "CAP_KILL"; say ambient_capabilities = ["CAP_KILL"]`},
		{"capability out of bounds", c + "[limits]\nambient_capabilities = [\"CAP_KILL\"]\ncapability_bounding_set = []", `3:1: error: limits.ambient_capabilities: CAP_KILL is not in limits.capability_bounding_set: nothing that a worker runs may have it`},
		{"no memory", c + "[limits]\nmemory_max = 0", `3:1: error: limits.memory_max must be a size such as "512M", or "infinity", not 0: it has to be more than 0; for no limit say "infinity"`},
		{"tasks", c + "[limits]\ntasks_max = \"50%\"", `3:1: error: limits.tasks_max must be a number of tasks, or "infinity", not "50%": "50%" is not a number`},
		{"weight", c + "[limits]\ncpu_weight = 0", `3:1: error: limits.cpu_weight must be a whole number, not 0: less than 1`},
		{"no cgroup to limit", c + "[limits]\ncpu_weight = 5\nmemory_high = \"1G\"\ncgroup = false", `5:1: error: limits.cgroup: false leaves nothing that limits.memory_high, limits.cpu_weight could be set in`},
		{"nice", c + "[limits]\nnice = 20", `3:1: error: limits.nice must be a whole number, not 20: more than 19`},

		{"placeholder", "command = [\"x\",\n\t\"{prot}\"]", `2:2: error: command[1]: unknown placeholder "{prot}"; known are {fd} {addr} {host} {port} {worker} {generation}, and a literal brace is written "{{" or "}}"`},
		{"placeholder open", `command = ["x", "{fd"]`, `1:17: error: command[1]: a "{" without a "}"; a literal one is written "{{"`},
		{"placeholder in the program", `command = ["x{worker}"]`, `1:12: error: command[0]: the program cannot have the placeholder {worker}: it is looked up once for all workers`},
		{"placeholder name", `command = ["x", "{fd:a b}"]`, `1:17: error: command[1]: placeholder "{fd:a b}": "a b" is not a listener's name`},
		{"placeholder without a choice", "command = [\"x\", \"{fd}\"]\n[listen.a]\nstream = \"1\"\n[listen.b]\nstream = \"2\"", `1:17: error: command[1]: placeholder {fd}: there are 2 listeners; say {fd:a}`},
		{"port of a path", c + "environment = { A = \"{port}\" }\n[listen.a]\nstream = \"/a\"", `2:17: error: environment.A: placeholder {port}: "/a" has no port; say {addr:a}`},
		{"fd in the check", c + "[reload]\ncheck = [\"y\", \"{fd}\"]", `3:15: error: reload.check[1]: placeholder {fd}: the check is no worker and gets no sockets`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parseOne(t, tt.text, Options{})
			if err == nil {
				t.Fatal("no error")
			}
			if diff := cmp.Diff("/etc/fugue/web.toml:"+tt.want, err.Error()); diff != "" {
				t.Error(diff)
			}
			var one *Error
			if !errors.As(err, &one) {
				t.Error("not a *Error: the exit code would be wrong")
			}
		})
	}
}

func TestAllErrorsAtOnce(t *testing.T) {
	_, err := Parse([]File{
		{Path: "/c/web.toml", Text: []byte("workers = 'x'\n[reload]\nmax_suge = 1\n[ready]\ndelay = 1\n")},
		{Path: "/c/web.toml.d/10.toml", Text: []byte("usr = 'web'\ncommand = 'x'\n")},
	}, Options{WorkDir: "/", Name: "a/b", Overrides: []Override{{Key: "stop.timeout", Value: "x", Flag: "--stop-timeout"}}})
	want := strings.TrimSpace(`
/c/web.toml:1:1: error: workers must be a whole number or "auto", not "x"
/c/web.toml:3:1: error: unknown key "max_suge" in [reload]; did you mean max_surge?
/c/web.toml:5:1: error: ready.delay needs when = "started", and ready.when is "auto"
/c/web.toml.d/10.toml:1:1: error: unknown key "usr"; did you mean user?
/c/web.toml.d/10.toml:2:1: error: command must be an array of words, not "x"; say command = ["x"]
--stop-timeout: error: stop.timeout must be a time such as "90s" or "1min 30s", not "x": no number before "x"
--name: error: "a/b" cannot name a pool: a name is letters, digits and _.@- after a letter or digit, at most 64`)
	if err == nil {
		t.Fatal("no error")
	}
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Error(diff)
	}
}

func TestMerge(t *testing.T) {
	c, err := Parse([]File{
		{Path: "/c/web.toml", Text: []byte("command = ['a', 'b']\nenvironment = { A = '1', B = '2' }\n[listen.one]\nstream = '1'\nbacklog = 9\n[listen.two]\nstream = '2'\n")},
		{Path: "/c/web.toml.d/1.toml", Text: []byte("command = ['c']\n[listen.three]\nstream = '3'\n[listen.one]\nstream = '11'\n[environment]\nB = '3'\n")},
		{Path: "/c/web.toml.d/2.toml", Text: []byte("\nworkers = 3")},
	}, Options{WorkDir: "/"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(templates("c"), c.Command, sameTemplates); diff != "" {
		t.Error("arrays are replaced:", diff)
	}
	want := []Listener{{Name: "one", Stream: "11", Backlog: 9}, {Name: "two", Stream: "2"}, {Name: "three", Stream: "3"}}
	if diff := cmp.Diff(want, c.Listeners); diff != "" {
		t.Error(diff)
	}
	if c.Environment[0].Value.String() != "1" || c.Environment[1].Value.String() != "3" || c.Workers != 3 {
		t.Errorf("tables are merged: %v %d", c.Environment, c.Workers)
	}
	for key, pos := range map[string]string{
		"listen.one.stream":  "/c/web.toml.d/1.toml:5:1",
		"listen.one.backlog": "/c/web.toml:5:1",
		"listen.one":         "/c/web.toml:3:9",
		"listen.one.mode":    "/c/web.toml:3:9",
		"workers":            "/c/web.toml.d/2.toml:2:1",
		"command[0]":         "/c/web.toml.d/1.toml:1:12",
		"command[7]":         "/c/web.toml.d/1.toml:1:1",
		"environment.A":      "/c/web.toml:2:17",
		"user":               "/c/web.toml:1:1",
		"stop.timeout":       "/c/web.toml:1:1",
	} {
		if got := c.Pos(key).String(); got != pos {
			t.Errorf("%s is at %s, not %s", key, got, pos)
		}
	}
}

// positioned is what every error about a file looks like.
var positioned = regexp.MustCompile(`^/etc/fugue/web\.toml:[1-9][0-9]*:[1-9][0-9]*: error: [^\n]+$`)

func FuzzParse(f *testing.F) {
	f.Add(full)
	f.Add("command = ['{fd}']\nlisten.a.b.c = 1\n[[x]]\ny=[{z=1}]\n")
	f.Add("[reload]\nmax_suge = 1\n[limits]\nnofile='1:2'\ncpu=nan\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse([]File{{Path: "/etc/fugue/web.toml", Text: []byte(text)}}, Options{WorkDir: "/"})
		if err == nil {
			if c.Name != "web" || len(c.Command) == 0 || c.Workers < 0 {
				t.Fatalf("accepted %q as %+v", text, c)
			}
			if _, err := json.Marshal(c); err != nil {
				t.Fatal(err)
			}
			return
		}
		lines := strings.Count(text, "\n") + 1
		var all Errors
		if !errors.As(err, &all) || len(all) == 0 {
			t.Fatalf("%T: %v", err, err)
		}
		for _, e := range all {
			if !positioned.MatchString(e.Error()) || e.Line > lines {
				t.Fatalf("%q: error without a place: %q", text, e.Error())
			}
		}
	})
}
