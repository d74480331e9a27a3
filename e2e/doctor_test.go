package e2e_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"fugue/e2e"
)

// checks are what doctor finds, by name, each once, sorted.
func checks(t *testing.T, sb *e2e.Sandbox, code int) []string {
	t.Helper()
	r := sb.Exec("fugue", "doctor", "-o", "json", "web")
	var pools []struct {
		Findings []struct{ Check, What, Why, Fix string }
	}
	if err := json.Unmarshal([]byte(r.Out), &pools); err != nil || r.Code != code || len(pools) != 1 {
		t.Fatalf("want exit %d: %v\n%v", code, err, r)
	}
	var names []string
	for _, f := range pools[0].Findings {
		names = append(names, f.Check)
		if f.What == "" || f.Why == "" || f.Fix == "" {
			t.Errorf("says too little: %+v", f)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func wantChecks(t *testing.T, sb *e2e.Sandbox, want ...string) {
	t.Helper()
	code := 0
	if len(want) > 0 {
		code = 1
	}
	slices.Sort(want)
	if got := checks(t, sb, code); !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
}

// ailing is a unit as people write it who know nothing of a pool.
const ailing = `[Service]
Type=exec
NotifyAccess=all
ExecStart=/bin/sh -c "/usr/bin/fugue run --config /etc/fugue/web.toml; true"
Restart=on-failure
RestartSec=10s
TimeoutStopSec=5s
WatchdogSec=0
`

func TestDoctor(t *testing.T) {
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		// What the generator writes has nothing wrong with it, idle or not.
		wantChecks(t, sb)
		sb.Get("http://127.0.0.1:8080/")
		sb.WaitState("web", "running")
		wantChecks(t, sb)

		sb.Do("rm", "/t/web.sock")
		sb.File(webToml, strings.Replace(doctored, "30s", "x", 1))
		wantChecks(t, sb, "file", "socket-path", "daemon-reload")
		sb.File(webToml, doctored)
		sb.DaemonReload()
		sb.Do("systemctl", "stop", "web.service", "web-http.socket", "web-local.socket")
		wantChecks(t, sb, "socket-listening")
		sb.Do("systemctl", "start", "web.service", "web-http.socket", "web-local.socket")
		wantChecks(t, sb)
		sb.Do("systemctl", "stop", "web.service", "web-http.socket", "web-local.socket")

		// A unit of a person's own stands in for the generated one.
		sb.File(webToml, generatedFile("v1"))
		sb.Unit("web.service", "# fugue\n"+ailing)
		sb.DaemonReload()
		sb.Do("systemctl", "start", "web")
		want := []string{
			"type", "notify-access", "kill-mode", "oom-policy", "restart", "restart-delay", "start-limit", "store-size",
			"runtime-directory", "exec-reload", "exec-stop-post", "stop-timeout",
		}
		wantChecks(t, sb, append(want, "wrapper")...)
		r := sb.Exec("fugue", "doctor")
		if r.Code != 1 || !strings.Contains(r.Out, "web: web.service has KillMode=control-group\n  why: ") || !strings.Contains(r.Out, "\n  fix: ") {
			t.Error(r)
		}
		if r := sb.Exec("fugue", "doctor", "nothing"); r.Code != 4 {
			t.Error(r)
		}
	}, e2e.WithGenerator(), e2e.WithFile(webToml, doctored))
}

const doctored = `command = ["/usr/bin/testworker"]
user = "nobody"
stop.timeout = "30s"
[listen.http]
stream = "127.0.0.1:8080"
[listen.local]
stream = "/t/web.sock"
[install]
wanted_by = ["sockets.target"]
sockets = true
`

// `fugue units` does by hand what the generator does, and doctor agrees; the
// strictest unit runs a pool too, through a restart and a reload.
func TestInstalledUnits(t *testing.T) {
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		file := strings.Replace(generatedFile("v1"), "sockets = false", "sockets = false\nrun_as = \"user\"", 1)
		sb.File(webToml, file)
		if r := sb.Exec("fugue", "units", "web", "--diff"); r.Code != 1 || !strings.Contains(r.Out, "\n+KillMode=process\n") {
			t.Error(r)
		}
		if out := sb.Do("fugue", "units", "web", "--install"); !strings.Contains(out, "wrote /etc/systemd/system/web.service\nnow run: systemctl daemon-reload && systemctl enable --now web.service") {
			t.Error(out)
		}
		if r := sb.Exec("fugue", "units", "web", "--diff"); r.Code != 0 || r.Out != "" {
			t.Error(r)
		}
		if r := sb.Exec("systemd-analyze", "--man=no", "verify", "/etc/systemd/system/web.service"); r.Code != 0 || strings.Contains(r.Err, "ignoring\n") && strings.Contains(r.Err, "system/web.") {
			t.Error(r)
		}
		sb.Do("ln", "-s", "/etc/systemd/system/web.service", "/u/web.service") // where this systemd looks
		sb.DaemonReload()
		sb.Do("systemctl", "start", "web")
		load := sb.Load(httpLoad)
		if user := sb.Do("stat", "-c", "%U", "/proc/"+sb.Show("web", "MainPID")); user != "www-data" {
			t.Error("the master is", user)
		}
		wantChecks(t, sb)
		sb.File(webToml, strings.Replace(file, "v1", "v2", 1))
		sb.Do("systemctl", "reload", "web")
		load.AwaitVersion("v2")
		sb.Do("systemctl", "restart", "web")
		sb.Do("fugue", "upgrade", "web")
		sb.Kill(sb.MainPID("web"))
		sb.WaitShow("web", "NRestarts", "1")
		sb.WaitState("web", "running")
		load.AwaitMore(50)
		load.StopWithoutLoss()
		sb.Do("systemctl", "stop", "web")
		if left := sb.Processes("web"); len(left) != 0 {
			t.Errorf("left: %+v", left)
		}
		if out := sb.Do("fugue", "units", "web", "--remove"); !strings.HasPrefix(out, "removed /etc/systemd/system/web.service\n") {
			t.Error(out)
		}
		if r := sb.Exec("fugue", "units", "web", "--remove"); r.Code != 1 {
			t.Error(r)
		}
	})
}

// Each systemd understands every line that is written for it.
func TestUnitsAreUnderstood(t *testing.T) {
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		const all = `command = ["/usr/bin/testworker"]
user = "daemon"
directory = "/srv"
limits.ambient_capabilities = ["NET_RAW"]
[stop]
delay = "5s"
timeout = "%s"
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
stream = "[::]:444"
bind_ipv6_only = "ipv6-only"
[listen."local@a"]
stream = "/run/100%% mine.sock"
mode = "0660"
user = "daemon"
group = "daemon"
remove_on_stop = false
[listen.log]
datagram = "@log"
[listen.virtual]
stream = "vsock::80"
[install]
wanted_by = ["multi-user.target"]
sockets = true
run_as = "%s"
hardening = "%s"
`
		for _, how := range [][]any{{"1min", "root", "default"}, {"infinity", "user", "default"}, {"500ms", "root", "off"}} {
			sb.File(webToml, fmt.Sprintf(all, how...))
			sb.Do("fugue", "units", "web", "--install")
			units := strings.Fields(sb.Do("sh", "-c", "ls /etc/systemd/system/web*"))
			if len(units) != 6 {
				t.Errorf("units: %q", units)
			}
			r := sb.Exec(append([]string{"systemd-analyze", "--man=no", "verify"}, units...)...)
			for line := range strings.Lines(r.Err) {
				if strings.Contains(line, "system/web") {
					t.Errorf("%v: %s", how, line)
				}
			}
			if r.Code != 0 {
				t.Error(r)
			}
		}
	})
}
