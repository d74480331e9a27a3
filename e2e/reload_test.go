package e2e_test

import (
	"fmt"
	"testing"
	"time"

	"fugue/e2e"
	"fugue/internal/loadtest"
)

// Promise 1, with the sockets of systemd and with fugue's own.
func TestReloadsLoseNothing(t *testing.T) {
	for _, c := range []struct{ name, tables string }{{"own", selfBound}, {"socket-units", ""}} {
		t.Run(c.name, func(t *testing.T) {
			e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
				p := newPool(t, sb, c.tables)
				if c.tables == "" {
					sb.Unit("web.socket", tcpSocket)
					sb.Unit("weblocal.socket", unixSocket)
					sb.Do("systemctl", "start", "web.socket", "weblocal.socket")
				}
				sb.Do("systemctl", "start", "web")
				load := p.loads()
				for i := range loadtest.Scale(50) {
					version := fmt.Sprintf("v%d", i+2)
					p.deploy("-version", version)
					p.reload()
					load.awaitVersion(version)
				}
				load.stopWithoutLoss()
				p.want("status", sb.Do("fugue", "status", "web"), "running", "4 of 4 workers ready")
			})
		})
	}
}

// Promise 3: the caller learns that the release was bad, which worker it was
// and what it said, while the old version answers throughout.
func TestABrokenReleaseIsUndone(t *testing.T) {
	for _, c := range []struct {
		name  string
		flags []string
		says  []string
	}{
		{"exits", []string{"-version", "bad", "-stderr", "no database here", "-exit", "3"},
			[]string{"of generation 2", "exit status 3", "no database here", "generation 1 serves"}},
		{"hangs", []string{"-version", "bad", "-stderr", "waiting for godot", "-hang"},
			[]string{"of generation 2", "was not ready within 5s", "waiting for godot", "generation 1 serves"}},
		{"dies", []string{"-version", "bad", "-stderr", "all is well", "-die-after", "300ms", "-die-signal", "15", "-stop-code", "7"},
			[]string{"of generation 2", "exit status 7", "all is well", "generation 1 serves"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
				p := newPool(t, sb, selfBound)
				sb.Do("systemctl", "start", "web")
				load := p.loads()
				if c.name == "hangs" { // no other is to be as quick as that
					p.tables = selfBound + "[ready]\ntimeout = \"5s\"\n"
				}
				p.deploy(c.flags...)
				p.tables = selfBound
				if r := sb.Systemctl("reload", "web"); r.Code == 0 {
					t.Errorf("systemctl reload of a broken release: %v", r)
				}
				p.says(nil, c.says)
				r := sb.Exec("fugue", "reload", "web")
				if r.Code != 5 {
					t.Errorf("fugue reload of a broken release: %v", r)
				}
				p.want("fugue reload", r.String(), append([]string{"of generation 3"}, c.says[1:]...)...)
				p.deploy("-version", "v2")
				p.reload()
				load.awaitVersion("v2")
				for _, report := range load.stopWithoutLoss() {
					if seen, ok := report.Saw("bad"); ok && c.name != "dies" {
						t.Errorf("answers of the broken release: %+v", seen)
					}
				}
			})
		})
	}
}

// The fix need not wait for the hang.
func TestReloadNowGoesOutOfAHang(t *testing.T) {
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		p := newPool(t, sb, selfBound)
		sb.Do("systemctl", "start", "web")
		load := p.loads()
		p.deploy("-hang")
		hung := make(chan e2e.Result, 1)
		go func() { hung <- sb.Exec("fugue", "reload", "web") }()
		sb.WaitMessage("rolling from generation 1 to 2", "-u", "web")
		p.deploy("-version", "v2")
		began := time.Now()
		if r := sb.Exec("fugue", "reload", "--now", "web"); r.Code != 0 {
			t.Error(r)
		}
		t.Logf("out of the hang in %v", time.Since(began))
		if r := <-hung; r.Code != 5 {
			t.Errorf("the caller of the hung reload got %v", r)
		} else {
			p.want("its verdict", r.String(), "cancelled")
		}
		load.awaitVersion("v2")
		load.stopWithoutLoss()
	})
}
