package e2e_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"fugue/e2e"
)

// web.toml in the two ways that its sockets may be bound.
const (
	generated = `command = ["/usr/bin/testworker", "-version", "%s"]
workers = 2
user = "www-data"
[listen.http]
stream = "127.0.0.1:8080"
[install]
wanted_by = ["%s"]
sockets = %t
`
	webToml = "/etc/fugue/web.toml"
)

func generatedFile(version string) string {
	return fmt.Sprintf(generated, version, "multi-user.target", false)
}

func socketFile(version string) string {
	return fmt.Sprintf(generated, version, "sockets.target", true)
}

// A file and a daemon-reload are all that a pool needs.
func TestGeneratedService(t *testing.T) {
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		sb.File(webToml, generatedFile("v1"))
		sb.DaemonReload()
		sb.Do("systemctl", "start", "web")
		if a := sb.Get("http://127.0.0.1:8080/"); a.Version != "v1" {
			t.Errorf("%+v", a)
		}
		for property, want := range map[string]string{
			"OOMPolicy": "continue", "KillMode": "process", "RestartUSec": "100ms", "Restart": "always",
			"NotifyAccess": "main", "FileDescriptorStoreMax": "4096", "WatchdogUSec": "30s", "TimeoutStopUSec": "45s",
			"Delegate": "yes", "StartLimitIntervalUSec": "0", "RuntimeDirectoryPreserve": "restart",
			"SourcePath": webToml, "UnitFileState": "generated", "NeedDaemonReload": "no", "User": "www-data",
		} {
			if got := sb.Show("web", property); got != want {
				t.Errorf("%s is %q, want %q", property, got, want)
			}
		}
		if r := sb.Exec("systemd-analyze", "--man=no", "verify", "/run/systemd/generator/web.service"); r.Code != 0 || strings.Contains(r.Err, "web.") {
			t.Error(r)
		}
		if r := sb.Exec("systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", "/run/systemd/generator/web.service"); r.Code != 0 {
			t.Error("not as safe as it should be:", r)
		}

		load := sb.Load(httpLoad)
		sb.File(webToml, generatedFile("v2"))
		sb.Do("systemctl", "reload", "web")
		load.AwaitVersion("v2")
		main := sb.MainPID("web")

		// A file that is broken is refused by each who reads it, and what runs
		// goes on, also after a daemon-reload and the death of its master.
		sb.File(webToml, generatedFile("v3")+"\nworkers = x\n")
		if r := sb.Systemctl("reload", "web"); r.Code == 0 {
			t.Error("a broken file was taken:", r)
		}
		sb.DaemonReload()
		if r := sb.Systemctl("status", "web"); !strings.Contains(r.Out, "● web.service - "+webToml+":10:11: error:") {
			t.Error("status does not say what is wrong:", r)
		}
		if n := sb.Show("web", "KillMode") + sb.Show("web", "FileDescriptorStoreMax"); n != "process4096" {
			t.Error("the unit of a broken file has", n)
		}
		sb.Kill(main)
		sb.WaitMessage("took over from a master that is gone", "-u", "web")
		load.AwaitMore(50)

		sb.File(webToml, generatedFile("v3"))
		sb.DaemonReload()
		sb.Do("systemctl", "restart", "web")
		load.AwaitVersion("v3")
		load.StopWithoutLoss()
		sb.Do("systemctl", "stop", "web")
		if _, err := sb.Dial("tcp", "127.0.0.1:8080"); err == nil {
			t.Error("still connects")
		}
		if left := sb.Processes("web"); len(left) != 0 {
			t.Errorf("left: %+v", left)
		}
	}, e2e.WithGenerator())
}

// Behind its socket a pool is started by the first connection.
func TestGeneratedSocket(t *testing.T) {
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		// At boot: what wants the socket has it.
		if state := sb.Show("web-http.socket", "ActiveState") + sb.Show("web", "ActiveState"); state != "activeinactive" {
			t.Error("after the boot:", state)
		}
		if a := sb.Get("http://127.0.0.1:8080/"); a.Version != "v1" {
			t.Errorf("%+v", a)
		}
		sb.WaitState("web", "running")
		load := sb.Load(httpLoad)
		sb.File(webToml, socketFile("v2"))
		sb.Do("systemctl", "reload", "web")
		load.AwaitVersion("v2")
		sb.File(webToml, socketFile("v3")+"[nothing]\n")
		sb.DaemonReload() // the socket of a broken file stays a unit that systemd knows
		if r := sb.Systemctl("reload", "web"); r.Code == 0 {
			t.Error("a broken file was taken:", r)
		}
		if state := sb.Show("web-http.socket", "LoadState") + sb.Show("web-http.socket", "ActiveState"); state != "loadedactive" {
			t.Error("the socket is", state)
		}
		load.AwaitMore(50)
		load.StopWithoutLoss()
		sb.Do("systemctl", "stop", "web-http.socket", "web.service")
		if _, err := sb.Dial("tcp", "127.0.0.1:8080"); err == nil {
			t.Error("still connects")
		}
	}, e2e.WithGenerator(), e2e.WithFile(webToml, socketFile("v1")))
}

// A master that cannot start behind its socket refuses nobody: who connects
// waits, and is served when the file is mended.
func TestBrokenBehindASocket(t *testing.T) {
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		sb.File(webToml, socketFile("v1")+"[stop]\ntimeout = x\n")
		sb.DaemonReload()
		var waiting []net.Conn
		connect := func(n int) {
			for range n {
				c, err := sb.Dial("tcp", "127.0.0.1:8080")
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { c.Close() })
				fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")
				waiting = append(waiting, c)
			}
		}
		connect(10)
		for restarts := 1; restarts <= 3; restarts++ {
			sb.WaitShowAs("web", "NRestarts", atLeast(restarts))
			connect(10)
		}
		const message = webToml + ":10:11: error: "
		sb.WaitMessage(message, "-u", "web", "SYSLOG_IDENTIFIER=fugue")
		r := sb.Systemctl("status", "-n30", "web")
		// What it said is shown too, but for the moment between two attempts.
		if !strings.HasPrefix(r.Out, "● web.service - "+message) {
			t.Errorf("want %q in front:\n%s", message, r.Out)
		}
		sb.File(webToml, socketFile("v1"))
		sb.DaemonReload()
		for i, c := range waiting {
			answer, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil || answer.StatusCode != http.StatusOK {
				t.Fatalf("connection %d: %v, %+v", i, err, answer)
			}
			answer.Body.Close()
		}
		if state := sb.Show("web-http.socket", "Result"); state != "success" {
			t.Error("the socket's result is", state)
		}
	}, e2e.WithGenerator(), e2e.WithFile(webToml, socketFile("v0")))
}

// What a file cannot be is said by a unit of its own: it never takes the name of
// another, nor the place of a template's instance, nor harms its neighbours.
func TestGeneratorKeepsOff(t *testing.T) {
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		if state := sb.Do("systemctl", "show", "-P", "ActiveState", "multi-user.target"); state != "active" {
			t.Error("the boot ended", state)
		}
		if text := sb.Do("systemctl", "show", "-P", "Description", "nginx"); text != "the real one" {
			t.Errorf("nginx is now %q", text)
		}
		failed := sb.Do("systemctl", "--failed", "--plain", "--no-legend")
		if !strings.Contains(failed, "fugue-nginx-error.service") {
			t.Errorf("--failed shows:\n%s", failed)
		}
		const why = "/etc/fugue/nginx.toml:1:1: error: nginx.service is the name of another unit (/u/nginx.service)"
		sb.Do("journalctl", "--sync")
		if r := sb.Systemctl("status", "fugue-nginx-error"); strings.Count(r.Out, why) < 3 { // what it is, its command, what it said
			t.Errorf("want %q three times:\n%s", why, r)
		}
		// systemd alone would say 217/USER, and nothing of the file.
		sb.WaitMessage("/etc/fugue/stranger.toml:3:1: error: user \"stranger\": no such user", "-u", "stranger", "SYSLOG_IDENTIFIER=fugue")
		for _, unit := range []string{"shop", "fugue-shop-error", "byhand"} {
			path := sb.Show(unit, "FragmentPath")
			if strings.HasPrefix(path, "/run/systemd/generator") {
				t.Errorf("%s was generated, %s", unit, path)
			}
		}
		if a := sb.Get("http://127.0.0.1:8080/"); a.Version != "v1" {
			t.Errorf("%+v", a)
		}
	}, e2e.WithGenerator(),
		e2e.WithFile(webToml, generatedFile("v1")),
		e2e.WithFile("/etc/fugue/bad.toml", "\x00[[["),
		e2e.WithFile("/etc/fugue/nginx.toml", strings.Replace(generatedFile("v1"), "8080", "8081", 1)),
		e2e.WithFile("/u/nginx.service", "[Unit]\nDescription=the real one\n[Service]\nExecStart=/bin/true\n"),
		e2e.WithFile("/etc/fugue/shop.toml", strings.Replace(generatedFile("v1"), "8080", "8082", 1)),
		e2e.WithFile("/u/fugue@.service", strings.ReplaceAll(service, "web", "%i")),
		e2e.WithFile("/etc/fugue/byhand.toml", strings.Replace(generatedFile("v1"), "8080", "8083", 1)),
		e2e.WithFile("/u/byhand.service", strings.ReplaceAll(service, "web", "byhand")),
		e2e.WithFile("/etc/fugue/stranger.toml", strings.NewReplacer("8080", "8084", "www-data", "stranger").Replace(generatedFile("v1"))),
		e2e.WithLink("/u/multi-user.target.wants/fugue@shop.service", "../fugue@.service"),
	)
}
