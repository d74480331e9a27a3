package release

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"fugue/internal/config"
)

// tree makes files (mode 0755) below a fresh directory that everybody may enter.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "f")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	os.Chmod(dir, 0o755)
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if target, ok := strings.CutPrefix(text, "-> "); ok {
			err = os.Symlink(target, path)
		} else {
			err = os.WriteFile(path, []byte(text), 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// parse reads a configuration in which DIR stands for dir.
func parse(t *testing.T, dir, text string) *config.Config {
	t.Helper()
	text = strings.ReplaceAll(text, "DIR", dir)
	c, err := config.Parse([]config.File{{Path: "/etc/fugue/web.toml", Text: []byte(text)}}, config.Options{WorkDir: "/"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var two = []Socket{
	{"http", "tcp", "127.0.0.1:8080"},
	{"admin", "unix", "/run/web/admin.sock"},
}

const script = "#!/bin/sh\n"

func mustMake(t *testing.T, c *config.Config, sockets []Socket, environ ...string) *Release {
	t.Helper()
	r, err := Make(c, sockets, environ)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestCommand(t *testing.T) {
	dir := tree(t, map[string]string{"bin/server": script, "current": "-> ."})
	c := parse(t, dir, `
command = ["./bin/server", "--fd={fd:http}", "{fd:admin}", "{addr:http}", "{host:http}", "{port:http}", "{addr:admin}", "{worker}.{generation}", "{{}}"]
directory = "DIR/current"
environment = { FPM_SOCKETS = "{addr:http}={fd:http}", ID = "{worker}" }
[limits]
nofile = "10:20"
umask = "0027"
nice = 5
oom_score_adj = 7
no_new_privs = true
`)
	r := mustMake(t, c, two, "LANG=C", "LISTEN_FDS=9", "LISTEN_PID=1", "LISTEN_FDNAMES=x", "LISTEN_PIDFDID=1", "NOTIFY_SOCKET=/x", "WATCHDOG_USEC=1",
		"WATCHDOG_PID=1", "FDSTORE=5", "MAINPID=3", "MAINPIDFDID=3", "JOURNAL_STREAM=1:2", "INVOCATION_ID=abc", "FUGUE_LAUNCH=1,2", "FUGUE_POOL=outer",
		"LANG=C.UTF-8", "ID=old", "LISTEN_ADDR=mine", "BRACES={x}", "junk", "=junk")
	wantArgv := []string{"./bin/server", "--fd=3", "4", "127.0.0.1:8080", "127.0.0.1", "8080", "/run/web/admin.sock", "2.7", "{}"}
	wantEnv := []string{"LANG=C.UTF-8", "INVOCATION_ID=abc", "ID=2", "LISTEN_ADDR=mine", "BRACES={x}", "FPM_SOCKETS=127.0.0.1:8080=3",
		"FUGUE_POOL=web", "FUGUE_GENERATION=7", "LISTEN_FDS=2", "LISTEN_FDNAMES=http:admin", "NOTIFY_SOCKET=/run/n", "FUGUE_WORKER=2"}
	check := func(r *Release) {
		t.Helper()
		argv, env := r.Command(Vars{Worker: 2, Generation: 7, NotifySocket: "/run/n"})
		if diff := cmp.Diff(wantArgv, argv); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(wantEnv, env); diff != "" {
			t.Error(diff)
		}
	}
	check(r)
	if r.Path != dir+"/bin/server" || r.Dir != dir {
		t.Errorf("links are left: %s in %s", r.Path, r.Dir)
	}
	five, seven := 5, 7
	want := &Release{Pool: "web", UID: -1, GID: -1, Umask: 0o027, Nice: &five, OOMScoreAdj: &seven, NoNewPrivs: true,
		Rlimits: []Rlimit{{7, 10, 20}}, Sockets: two}
	if diff := cmp.Diff(want, r, cmpopts.IgnoreFields(Release{}, "Path", "Args", "Dir", "Env")); diff != "" {
		t.Error(diff)
	}

	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back *Release
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	check(back)
	if diff := cmp.Diff(r, back, cmp.Comparer(func(a, b config.Template) bool { return a.String() == b.String() })); diff != "" {
		t.Error("after JSON:", diff)
	}

	argv, env := mustMake(t, parse(t, dir, "command = ['DIR/bin/server']"), nil).Command(Vars{Worker: 1, Generation: 1})
	if len(argv) != 1 || strings.Contains(strings.Join(env, " "), "LISTEN_") || strings.Contains(strings.Join(env, " "), "NOTIFY") {
		t.Errorf("without sockets: %q %q", argv, env)
	}
}

// TestDeployFlip: the release made before the flip keeps running the old
// directory, however often its workers are started again.
func TestDeployFlip(t *testing.T) {
	dir := tree(t, map[string]string{
		"releases/1/run": "#!/bin/sh\ncat version\n", "releases/1/version": "one\n",
		"releases/2/run": "#!/bin/sh\ncat version\n", "releases/2/version": "two\n",
		"current": "-> releases/1",
	})
	c := parse(t, dir, "command = ['./run']\ndirectory = 'DIR/current'")
	start := func(r *Release) string {
		t.Helper()
		argv, env := r.Command(Vars{Worker: 1, Generation: 1})
		cmd := exec.Cmd{Path: r.Path, Args: argv, Env: append(env, "PATH=/usr/bin:/bin"), Dir: r.Dir}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return strings.TrimSpace(string(out))
	}
	before := mustMake(t, c, nil)
	os.Remove(dir + "/current")
	if err := os.Symlink("releases/2", dir+"/current"); err != nil {
		t.Fatal(err)
	}
	after := mustMake(t, c, nil)
	if got := start(before); got != "one" {
		t.Errorf("the old release runs %s", got)
	}
	if got := start(after); got != "two" {
		t.Errorf("the new release runs %s", got)
	}
}

func TestProgram(t *testing.T) {
	dir := tree(t, map[string]string{
		"app/bin/server": script, "app/venv/python": "-> ../../usr/python3", "usr/python3": "-> python3.11", "usr/python3.11": "\x7fELF",
		"first/x": "", "second/x": script, "second/only": script, "app/x": script,
	})
	os.Chmod(dir+"/first/x", 0o644)
	for _, tt := range []struct{ name, command, env, wantPath, wantArg string }{
		{"absolute", "DIR/app/bin/server", "", "DIR/app/bin/server", "DIR/app/bin/server"},
		{"relative", "bin/server", "", "DIR/app/bin/server", "bin/server"},
		{"dots", "../app/./bin/server", "", "DIR/app/bin/server", "../app/./bin/server"},
		{"links", "venv/python", "", "DIR/usr/python3.11", "venv/python"},
		{"PATH of the release", "only", "environment = { PATH = 'DIR/first:DIR/second' }", "DIR/second/only", "only"},
		{"PATH passes over what may not run", "x", "environment = { PATH = 'DIR/first:DIR/second' }", "DIR/second/x", "x"},
		{"PATH passes over relative entries", "x", "environment = { PATH = '.::DIR/second' }", "DIR/second/x", "x"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := mustMake(t, parse(t, dir, "command = ['"+tt.command+"']\ndirectory = 'DIR/app'\n"+tt.env), nil, "PATH=/nowhere")
			argv, _ := r.Command(Vars{})
			if want := strings.ReplaceAll(tt.wantPath, "DIR", dir); r.Path != want {
				t.Errorf("runs %s, not %s", r.Path, want)
			}
			if want := strings.ReplaceAll(tt.wantArg, "DIR", dir); argv[0] != want {
				t.Errorf("argv[0] is %s, not %s", argv[0], want)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	dir := tree(t, map[string]string{"server": script, "second/verify": script})
	c := parse(t, dir, `command = ["DIR/server", "{fd:http}"]
environment = { PATH = "DIR/second", W = "{worker}", FD = "{fd:http}" }
[reload]
check = ["verify", "{addr:http}", "{generation}"]`)
	r := mustMake(t, c, two, "LISTEN_FDS=1", "HOME=/root")
	argv, env := r.Check(4)
	if diff := cmp.Diff([]string{"verify", "127.0.0.1:8080", "4"}, argv); diff != "" {
		t.Error(diff)
	}
	want := []string{"HOME=/root", "PATH=" + dir + "/second", "W=0", "FD=3", "FUGUE_POOL=web", "FUGUE_GENERATION=4"}
	if diff := cmp.Diff(want, env); diff != "" {
		t.Error(diff)
	}
	if r.CheckPath != dir+"/second/verify" {
		t.Error(r.CheckPath)
	}
}

func TestMakeErrors(t *testing.T) {
	dir := tree(t, map[string]string{
		"app/server": script, "app/plain": script, "app/lost": "-> /nowhere/server", "app/script": "#! /no/such/sh -e\n",
		"file": "", "gone": "-> releases/7", "closed/server": script, "fifodir/x": "",
		"env/bad": "A=1\nexport B=2\nC='open\n", "env/good": "A=1\n", "env/reserved": "\n\n  LISTEN_PID=1\n",
	})
	os.Chmod(dir+"/app/plain", 0o644)
	os.Chmod(dir+"/closed", 0o700)
	for name, mode := range map[string]os.FileMode{"loose": 0o777, "theirs": 0o755} {
		if err := errors.Join(os.Mkdir(dir+"/"+name, mode), os.Chmod(dir+"/"+name, mode)); err != nil {
			t.Fatal(err)
		}
	}
	os.Chown(dir+"/theirs", 1, 1)
	if err := syscall.Mkfifo(dir+"/fifo", 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, text string
		sockets    []Socket
		want       string
	}{
		{"missing command", "\n\ncommand = ['./bin/server']\ndirectory = 'DIR/app'", nil, `web.toml:3:1: error: command "./bin/server": no such file or directory (DIR/app/bin)`},
		{"missing absolute command", "command = ['DIR/none']", nil, `web.toml:1:1: error: command "DIR/none": no such file or directory`},
		{"dangling command", "command = ['./lost']\ndirectory = 'DIR/app'", nil, `web.toml:1:1: error: command "./lost": no such file or directory (/nowhere)`},
		{"not executable", "command = ['./plain']\ndirectory = 'DIR/app'", nil, `web.toml:1:1: error: command "./plain": permission denied`},
		{"not executable by root", "user = 'root'\ncommand = ['DIR/app/plain']", nil, `web.toml:2:1: error: command "DIR/app/plain": permission denied for uid 0`},
		{"not for the user", "command = ['DIR/closed/server']\nuser = 'daemon'", nil, `web.toml:1:1: error: command "DIR/closed/server": permission denied for uid 1 in DIR/closed`},
		{"a directory", "command = ['DIR/app']", nil, `web.toml:1:1: error: command "DIR/app": is a directory`},
		{"a fifo", "command = ['DIR/fifo']", nil, `web.toml:1:1: error: command "DIR/fifo": not a regular file`},
		{"interpreter", "command = ['DIR/app/script']", nil, `web.toml:1:1: error: command "DIR/app/script": its first line asks for "/no/such/sh", which does not exist`},
		{"not in PATH", "command = ['servr']\nenvironment = {PATH='DIR/app'}", nil, `web.toml:1:1: error: command "servr": not found in PATH (DIR/app)`},
		{"no PATH", "command = ['servr']", nil, `web.toml:1:1: error: command "servr": not found in PATH (/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin)`},
		{"in PATH, but", "command = ['plain']\nenvironment = {PATH='DIR/app'}", nil, `web.toml:1:1: error: command "plain": permission denied`},
		{"check", "command = ['DIR/app/server']\n[reload]\ncheck = ['DIR/nope']", nil, `web.toml:3:1: error: check "DIR/nope": no such file or directory`},
		{"directory", "command = ['./x']\ndirectory = 'DIR/nope'", nil, `web.toml:2:1: error: directory "DIR/nope": no such file or directory`},
		{"dangling directory", "command = ['./x']\ndirectory = 'DIR/gone'", nil, `web.toml:2:1: error: directory "DIR/gone": no such file or directory (DIR/releases)`},
		{"directory is a file", "command = ['./x']\ndirectory = 'DIR/file'", nil, `web.toml:2:1: error: directory "DIR/file": not a directory`},
		{"directory is closed", "command = ['./x']\nuser = 'daemon'\ndirectory = 'DIR/closed'", nil, `web.toml:3:1: error: directory "DIR/closed": permission denied for uid 1`},
		{"user", "command = ['DIR/app/server']\nuser = 'nobody-here'", nil, `web.toml:2:1: error: user "nobody-here": no such user in /etc/passwd; one from elsewhere can be given by number, with group`},
		{"user's group", "command = ['DIR/app/server']\nuser = '54321'", nil, `web.toml:2:1: error: user "54321": nobody knows its group; say group too`},
		{"group", "command = ['DIR/app/server']\ngroup = 'no-group'", nil, `web.toml:2:1: error: group "no-group": no such group in /etc/group; one from elsewhere can be given by number`},
		{"supplementary group", "command = ['DIR/app/server']\nsupplementary_groups = ['daemon', 'x-y']", nil, `web.toml:2:35: error: group "x-y": no such group in /etc/group; one from elsewhere can be given by number`},
		{"environment file", "command = ['DIR/app/server']\nenvironment_files = ['-DIR/a', 'DIR/b']", nil, `web.toml:2:ENV: error: environment file "DIR/b": no such file or directory`},
		{"environment file is none", "command = ['DIR/app/server']\nenvironment_files = ['-DIR']", nil, `web.toml:2:22: error: environment file "DIR": not a regular file`},
		{"environment file is a fifo", "command = ['DIR/app/server']\nenvironment_files = ['DIR/fifo']", nil, `web.toml:2:22: error: environment file "DIR/fifo": not a regular file`},
		{"environment file's text", "command = ['DIR/app/server']\nenvironment_files = ['DIR/env/bad', 'DIR/env/reserved']", nil,
			"DIR/env/bad:2:1: error: \"export B\": leave export out, this is no shell script\n" +
				"DIR/env/bad:3:1: error: the quote in the value of \"C\" is not closed\n" +
				"DIR/env/reserved:3:3: error: LISTEN_PID is for fugue to set"},
		{"no listener", "command = ['DIR/app/server', '{fd}']", nil, `web.toml:1:COL: error: command[1]: placeholder {fd}: there is no listener; say one in [listen.NAME], with -l, or in a .socket unit`},
		{"which listener", "command = ['DIR/app/server', '{fd}']", two, `web.toml:1:COL: error: command[1]: placeholder {fd}: there are 2 listeners (http, admin); say {fd:admin}`},
		{"other listener", "command = ['DIR/app/server', '{fd:web}']", two, `web.toml:1:COL: error: command[1]: placeholder {fd:web}: there is no such listener, only http, admin`},
		{"several listeners", "command = ['DIR/app/server', '{fd:a}']", []Socket{{"a", "tcp", "1:1"}, {"a", "tcp", "1:2"}}, `web.toml:1:COL: error: command[1]: placeholder {fd:a}: several sockets have that name; FileDescriptorName= in their .socket units tells them apart`},
		{"port of a path", "command = ['DIR/app/server']\nenvironment = { P = '{port:admin}' }", two, `web.toml:2:17: error: environment.P: placeholder {port:admin}: "/run/web/admin.sock" has no port; say {addr:admin}`},
		{"tmp directory", "command = ['DIR/app/server']\ntmp_directory = 'DIR/nope'", nil, `web.toml:2:1: error: tmp_directory "DIR/nope": no such file or directory`},
		{"tmp directory is a file", "command = ['DIR/app/server']\ntmp_directory = 'DIR/file'", nil, `web.toml:2:1: error: tmp_directory "DIR/file": not a directory`},
		{"tmp directory is anybody's", "command = ['DIR/app/server']\ntmp_directory = 'DIR/loose'", nil, `web.toml:2:1: error: tmp_directory "DIR/loose": others can write to it (mode 0777): chmod 755 or 1777 it`},
		{"tmp directory is another's", "command = ['DIR/app/server']\ntmp_directory = 'DIR/theirs'", nil, `web.toml:2:1: error: tmp_directory "DIR/theirs": it belongs to uid 1, who could exchange what is in it`},
		{"tmp directory is closed", "command = ['DIR/app/server']\nuser = 'daemon'\ntmp_directory = 'DIR/closed'", nil, `web.toml:3:1: error: tmp_directory "DIR/closed": permission denied for uid 1`},
		{"stdin of several", "command = ['DIR/app/server']\nstdin = 'socket'", two, `web.toml:2:1: error: stdin = "socket" takes exactly one listener, and there are 2 (http, admin)`},
		{"stdin of none", "command = ['DIR/app/server']\nstdin = 'socket'", nil, `web.toml:2:1: error: stdin = "socket" needs a listener: say one in [listen.NAME], with -l, or in a .socket unit`},
		{"stdin of a preset", "command = ['DIR/app/server']\npreset = 'java'", two, `web.toml:2:1: error: preset = "java" has stdin = "socket"; that takes exactly one listener, and there are 2 (http, admin)`},
		{"all at once", "command = ['./x']\nuser = 'nobody-here'\ndirectory = 'DIR/nope'\ngroup = 'y'", nil,
			"web.toml:2:1: error: user \"nobody-here\": no such user in /etc/passwd; one from elsewhere can be given by number, with group\n" +
				"web.toml:3:1: error: directory \"DIR/nope\": no such file or directory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Make(parse(t, dir, tt.text), tt.sockets, nil)
			if err == nil {
				t.Fatal("no error")
			}
			got := strings.ReplaceAll(err.Error(), dir, "DIR")
			got = strings.ReplaceAll(got, "/etc/fugue/", "")
			var one *config.Error
			if !errors.As(err, &one) {
				t.Error("not a *config.Error: the exit code would be wrong")
			}
			// Columns behind the name of the temporary directory.
			for _, mark := range []string{"COL", "ENV"} {
				if strings.Contains(tt.want, mark) && one != nil {
					if one.Col < len(dir) {
						t.Errorf("column %d is not that of the second element", one.Col)
					}
					got = strings.Replace(got, ":"+itoa(one.Col)+":", ":"+mark+":", 1)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	_, err := Make(parse(t, dir, "command = ['DIR/none']"), nil, nil)
	if !errors.Is(err, syscall.ENOENT) {
		t.Errorf("the errno is lost: %v", err)
	}
}

func itoa(n int) string { b, _ := json.Marshal(n); return string(b) }

func TestEnvironmentFiles(t *testing.T) {
	dir := tree(t, map[string]string{"x": script, "one": "A=1\nB=1\nC=1\nPATH=DIR\nJ={\"a\":1}\n", "two": "B=2\nC=2\n"})
	c := parse(t, dir, "command = ['DIR/x']\nenvironment_files = ['DIR/one', '-DIR/none', 'DIR/two']\nenvironment = { C = '3' }")
	_, env := mustMake(t, c, nil, "A=0", "Z=0").Command(Vars{})
	want := []string{"A=1", "Z=0", "B=2", "C=3", "PATH=DIR", `J={"a":1}`, "FUGUE_POOL=web", "FUGUE_GENERATION=0", "FUGUE_WORKER=0"}
	if diff := cmp.Diff(want, env); diff != "" {
		t.Error(diff)
	}
	// Read at each release.
	if err := os.WriteFile(dir+"/two", []byte("B=new"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, env = mustMake(t, c, nil).Command(Vars{})
	if env[1] != "B=new" {
		t.Error(env)
	}
}
