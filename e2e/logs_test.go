package e2e_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"fugue/e2e"
	"fugue/internal/control"
	"fugue/internal/loadtest"
)

// A worker writes to the journal itself: a thousand lines a second go on
// whatever becomes of the master, and none is lost or torn.
func TestJournaledLinesOutliveMasters(t *testing.T) {
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		p := newPool(t, sb, selfBound)
		p.deploy("-log-every", "1ms")
		sb.Install(e2e.Fugue(t), ctl)
		sb.Do("systemctl", "start", "web")
		p.Do(ctl, "scale", "web", "1")
		before := p.awaitStatus(func(s control.Status) bool { return len(s.Workers) == 1 })
		for i := range loadtest.Scale(50) {
			p.upgrade(0, "1 worker taken along")
			sb.Kill(sb.MainPID("web"))
			sb.WaitShow("web", "NRestarts", strconv.Itoa(i+1))
			sb.WaitState("web", "running")
		}
		if now := p.status(); pids(now) != pids(before) {
			t.Errorf("the workers were %s and are %s", pids(before), pids(now))
		}
		sb.Do("systemctl", "stop", "web")
		sb.Do("journalctl", "--sync")
		for _, w := range before.Workers {
			lines := strings.Fields(strings.ReplaceAll(sb.Do("journalctl", "-q", "-o", "cat", "-t", fmt.Sprintf("web/%d", w.Slot)), " ", "_"))
			for n, line := range lines {
				if want := fmt.Sprintf("tick_%d_%d", w.PID, n+1); line != want {
					t.Errorf("line %d of worker %d: %q, want %q", n+1, w.Slot, line, want)
					break
				}
			}
			t.Logf("worker %d: %d lines", w.Slot, len(lines))
			if len(lines) < 100 {
				t.Errorf("worker %d wrote %d lines", w.Slot, len(lines))
			}
		}
	})
}
