package e2e_test

import (
	"strings"
	"testing"

	"fugue/e2e"
)

// A pool whose master becomes another user, as with a first unit that runs it as
// user, is served all the while: it can be reloaded before its restart, and what
// the former master left is told from its own.
func TestMasterOfAnotherUser(t *testing.T) {
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		version := ""
		unit := func(v, as string) {
			version = v
			sb.File(webToml, generatedFile(v)+"run_as = \""+as+"\"\n")
			sb.DaemonReload()
		}
		uid := func(want string) {
			t.Helper()
			main := sb.MainPID("web")
			if got := strings.TrimSpace(sb.Do("stat", "-c", "%U", "/proc/"+pid(main))); got != want {
				t.Errorf("the master of %s runs as %s, want %s", version, got, want)
			}
			for _, p := range sb.Processes("web") {
				status := sb.Exec("cat", "/proc/"+pid(p)+"/status").Out // nothing of one that has just ended
				if p.PID != main.PID && strings.Contains(status, "Name:\ttestworker") && !strings.Contains(status, "Uid:\t33\t33\t33\t33") {
					t.Errorf("a worker of %s runs as\n%s", version, status)
				}
			}
		}
		unit("v1", "root")
		sb.Do("systemctl", "start", "web")
		uid("root")
		load := sb.Load(httpLoad)

		unit("v2", "auto")
		sb.Do("systemctl", "reload", "web")
		load.AwaitVersion("v2")
		uid("root")
		sb.Do("systemctl", "restart", "web")
		uid("www-data")
		load.AwaitMore(50)

		// Back again, by a death: root does not go on from what another wrote.
		unit("v3", "root")
		sb.Kill(sb.MainPID("web"))
		sb.WaitMessage("the last master ran as uid 33 and this one is uid 0", "-u", "web")
		load.AwaitVersion("v3")
		sb.WaitState("web", "running")
		uid("root")

		unit("v4", "auto")
		sb.Kill(sb.MainPID("web"))
		sb.WaitMessage("the last master ran as uid 0 and this one is uid 33", "-u", "web")
		load.AwaitVersion("v4")
		sb.WaitState("web", "running")
		uid("www-data")
		load.AwaitMore(50)
		load.StopWithoutLoss()
		sb.Do("systemctl", "stop", "web")
		if left := sb.Processes("web"); len(left) != 0 {
			t.Errorf("left: %+v", left)
		}
	}, e2e.WithGenerator())
}

// What a master that is not root is trusted with, it can do: in the unit that is
// written for it, with all of its hardening.
func TestMasterOfUserCan(t *testing.T) {
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		sb.Do("install", "-d", "-o", "www-data", "/var/log/web", "/data/web")
		sb.File(webToml, `command = ["/usr/bin/testworker", "-version", "v1"]
user = "www-data"
tmp_directory = "runtime"
pid_file = "/run/fugue/web/pid"
[listen.http]
stream = "127.0.0.1:8080"
[listen.local]
stream = "/run/fugue/web/web.sock"
mode = "0660"
[log]
stdout = "relay:/data/web/out.log"
stderr = "/var/log/web/err.log"
[limits]
nofile = "2000:9000"
nice = 5
oom_score_adj = 100
umask = "0027"
no_new_privs = true
ambient_capabilities = ["NET_BIND_SERVICE"]
capability_bounding_set = ["NET_BIND_SERVICE"]
`)
		sb.DaemonReload()
		sb.Do("systemctl", "start", "web")
		if a := sb.Get("http://127.0.0.1:8080/"); a.Version != "v1" {
			t.Errorf("%+v", a)
		}
		if user := sb.Show("web", "User"); user != "www-data" {
			t.Errorf("the master is %q", user)
		}
		main := sb.MainPID("web")
		for _, p := range sb.Processes("web") {
			if p.PID == main.PID {
				continue
			}
			status := sb.Do("cat", "/proc/"+pid(p)+"/status")
			if !strings.Contains(status, "Name:\ttestworker") {
				continue
			}
			for _, want := range []string{
				"Uid:\t33\t33\t33\t33", "Gid:\t33\t33\t33\t33", "Umask:\t0027", "NoNewPrivs:\t1",
				"CapEff:\t0000000000000400", "CapAmb:\t0000000000000400", "CapBnd:\t0000000000000400",
			} {
				if !strings.Contains(status, want) {
					t.Errorf("a worker has no %q:\n%s", want, status)
				}
			}
			if limits := sb.Do("grep", "open files", "/proc/"+pid(p)+"/limits"); !strings.Contains(limits, " 9000 ") {
				t.Error(limits) // Go has raised the other one
			}
			if s := sb.Do("sh", "-c", "cut -d' ' -f19 /proc/"+pid(p)+"/stat; cat /proc/"+pid(p)+"/oom_score_adj"); strings.Join(strings.Fields(s), " ") != "5 100" {
				t.Errorf("nice and oom_score_adj are %q", s)
			}
		}
		for path, want := range map[string]string{
			"/run/fugue/web/web.sock": "660 www-data", "/run/fugue/web/pid": "644 www-data", "/var/log/web/err.log": "www-data", "/data/web/out.log": "www-data",
		} {
			if got := strings.TrimSpace(sb.Do("stat", "-c", "%a %U", path)); !strings.HasSuffix(got, want) {
				t.Errorf("%s is %s, want %s", path, got, want)
			}
		}
		load := sb.Load(httpLoad)
		sb.Do("systemctl", "reload", "web")
		sb.Do("fugue", "upgrade", "web")
		sb.Do("fugue", "recycle", "web")
		// It may not read the journal, and who asks for the reload may.
		good := sb.ReadFile(webToml)
		sb.File(webToml, strings.Replace(strings.Replace(good, `"v1"`, `"v1", "-stderr", "no key", "-exit", "4"`, 1), "stderr =", "# stderr =", 1))
		if r := sb.Exec("fugue", "reload", "web"); r.Code != 5 || !strings.Contains(r.Err, "\n    no key\n") {
			t.Error("the verdict has no last words:", r)
		}
		sb.File(webToml, good)
		load.AwaitMore(50)
		load.StopWithoutLoss()
		sb.Do("systemctl", "stop", "web")
		if left := sb.Processes("web"); len(left) != 0 {
			t.Errorf("left: %+v", left)
		}
	}, e2e.WithGenerator())
}
