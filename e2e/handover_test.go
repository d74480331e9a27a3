package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fugue/e2e"
	"fugue/internal/control"
	"fugue/internal/loadtest"
)

// ctl is a fugue inside that no upgrade touches, to ask with while the
// installed one is broken.
const ctl = "/t/ctl"

// handoverPool is a pool that serves, with a ctl.
func handoverPool(t *testing.T, sb *e2e.Sandbox) *pool {
	p := newPool(t, sb, selfBound)
	sb.Install(e2e.Fugue(t), ctl)
	sb.Do("systemctl", "start", "web")
	return p
}

// keptLoads are loads on both listeners, over new connections and such that stay.
func (p *pool) keptLoads() loads {
	p.t.Helper()
	return loads{
		p.Load(loadtest.Config{Address: "127.0.0.1:8080", KeepAlive: 3}),
		p.Load(loadtest.Config{Network: "unix", Address: "/t/web.sock", Rate: 100, KeepAlive: 2}),
	}
}

// script is an executable of this text outside.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// truncated is the first half of a binary: what a full disk leaves.
func truncated(t *testing.T, binary string) string {
	t.Helper()
	content, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	return script(t, string(content[:len(content)/2]))
}

func (p *pool) status() (s control.Status) {
	p.t.Helper()
	out := p.Do(ctl, "status", "web", "-o", "json")
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		p.t.Fatalf("%v in %s", err, out)
	}
	return s
}

// awaitStatus asks until the answer is as wanted: most of what it tells comes
// without an event.
func (p *pool) awaitStatus(such func(control.Status) bool) control.Status {
	p.t.Helper()
	var s control.Status
	for late := time.Now().Add(time.Minute); time.Now().Before(late); <-time.After(10 * time.Millisecond) {
		// Not by a command: what is waited for may not wait for that.
		answer, err := p.Client("/run/fugue/web/control.sock").Get("http://fugue/status")
		if err != nil {
			continue
		}
		s = control.Status{}
		err = json.NewDecoder(answer.Body).Decode(&s)
		answer.Body.Close()
		if err == nil && such(s) {
			return s
		}
	}
	p.t.Fatalf("the status stays %+v, change %+v", s, s.Change)
	return s
}

// upgrade asks for a handover and checks what came of it: the exit code, what
// is said, and that master and workers are the same processes.
func (p *pool) upgrade(exit int, says ...string) e2e.Result {
	p.t.Helper()
	before := p.status()
	r := p.Exec(ctl, "upgrade", "web")
	if r.Code != exit {
		p.t.Errorf("want exit %d: %v\n%s", exit, r, p.Journal("-u", "web", "-n", "30"))
	}
	p.want("fugue upgrade", r.String(), says...)
	after := p.status()
	if after.PID != before.PID || p.ShowInt("web", "MainPID") != before.PID {
		p.t.Errorf("the master was %d and is %d, MainPID %s", before.PID, after.PID, p.Show("web", "MainPID"))
	}
	if now, was := pids(after), pids(before); now != was {
		p.t.Errorf("the workers were %s and are %s", was, now)
	}
	return r
}

func pids(s control.Status) string {
	var list []string
	for _, w := range s.Workers {
		list = append(list, fmt.Sprintf("%d:%d:%s", w.Slot, w.PID, strings.Replace(w.State, "available", "ready", 1)))
	}
	return strings.Join(list, " ")
}

// Another version takes the place of the master a hundred times, as a package
// installs it. Now and then what is installed is no good: then it is said in
// the words of that program, and the one before serves on.
func TestHandoversLoseNothing(t *testing.T) {
	next := e2e.BuildFugue(t, "-X main.version=9.9-next")
	half := truncated(t, next)
	refuses := script(t, "#!/bin/sh\necho 'this release needs a newer kernel' >&2\nexit 78\n")
	crashes := script(t, "#!/bin/sh\nkill -SEGV $$\n")
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		p := handoverPool(t, sb)
		load := p.keptLoads()
		first := sb.MainPID("web")
		version := p.status().Version
		good := []struct{ path, version string }{{next, "9.9-next"}, {e2e.Fugue(t), version}}
		bad := []func(){
			func() {
				sb.Install(refuses, "/usr/bin/fugue")
				p.upgrade(5, "exit status 78: this release needs a newer kernel", version+" goes on as before")
			},
			func() { // of the new program's own reading of a file that is broken by now
				sb.Install(good[0].path, "/usr/bin/fugue")
				sb.File("/etc/fugue/web.toml", "command = [\"x\"]\nworkres = 4\n")
				p.upgrade(5, "exit status 78", "/etc/fugue/web.toml:2:1: error:", "workres")
				p.deploy("-version", "v1")
			},
			func() {
				sb.Install(half, "/usr/bin/fugue")
				p.upgrade(5, "upgrade refused: rehearse", "/usr/bin/fugue")
			},
			func() {
				sb.Install(good[0].path, "/usr/bin/fugue")
				sb.Do("chmod", "644", "/usr/bin/fugue")
				p.upgrade(5, "/usr/bin/fugue: permission denied")
			},
			func() {
				sb.Install(crashes, "/usr/bin/fugue")
				p.upgrade(5, "killed by SIGSEGV")
			},
			func() {
				sb.Do("rm", "/usr/bin/fugue")
				p.upgrade(5, "no such file or directory")
			},
		}
		refused := max(len(bad), loadtest.Scale(20))
		for i := range max(loadtest.Scale(80), refused) {
			if i < refused {
				bad[i%len(bad)]()
				if now := p.status(); now.Version != version || now.State != "running" {
					t.Errorf("%s after a refused upgrade from %s: %+v", now.Version, version, now)
				}
			}
			to := good[i%2]
			sb.Install(to.path, "/usr/bin/fugue")
			p.upgrade(0, "fugue "+to.version+" serves, 4 workers taken along")
			if version = p.status().Version; version != to.version {
				t.Errorf("version %s after an upgrade to %s", version, to.version)
			}
			load.awaitMore(20)
		}
		p.deploy("-version", "v2") // it can still do everything else
		p.reload()
		load.awaitVersion("v2")
		load.stopWithoutLoss()
		if now := sb.MainPID("web"); now.Outside != first.Outside {
			t.Errorf("the master was %+v and is %+v", first, now)
		}
		if n := sb.ShowInt("web", "NRestarts"); n != 0 {
			t.Errorf("systemd started it %d times again", n)
		}
	})
}

// A program that hangs in its rehearsal is ended in time, and meanwhile
// everything else goes on.
func TestAHandoverThatHangsIsGivenUp(t *testing.T) {
	hangs := script(t, "#!/bin/sh\necho 'waiting for a lock' >&2\nexec sleep 1000\n")
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		p := handoverPool(t, sb)
		load := p.keptLoads()
		sb.Install(hangs, "/usr/bin/fugue")
		began := time.Now()
		verdict := make(chan e2e.Result, 1)
		go func() { verdict <- sb.Exec(ctl, "upgrade", "web") }()
		p.awaitStatus(func(s control.Status) bool { return s.Change.Kind == "upgrade" })
		if r := sb.Exec(ctl, "scale", "web", "6"); r.Code != 0 {
			t.Errorf("a scale beside it: %v", r)
		}
		r := <-verdict
		if r.Code != 5 {
			t.Error(r)
		}
		p.want("its verdict", r.String(), "did not end in time", "waiting for a lock", "goes on as before")
		t.Logf("given up after %v", time.Since(began).Round(time.Second))
		if left := sb.Exec("sh", "-c", "grep -l 'sleep' /proc/[0-9]*/comm"); strings.TrimSpace(left.Out) != "" {
			t.Errorf("of the rehearsal is left %s", left.Out)
		}
		sb.Install(e2e.Fugue(t), "/usr/bin/fugue")
		p.upgrade(0, "6 workers taken along")
		load.stopWithoutLoss()
	})
}
