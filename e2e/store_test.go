package e2e_test

import (
	"fmt"
	"strings"
	"testing"

	"fugue/e2e"
	"fugue/internal/control"
)

// A unit whose fd store has no room for what a successor needs is said so, with
// the number that would do, until it has: and that number does.
func TestAStoreThatIsTooSmall(t *testing.T) {
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		p := newPool(t, sb, selfBound)
		sb.Install(e2e.Fugue(t), ctl)
		unit := func(limit string) string { return strings.Replace(service, "FileDescriptorStoreMax=4096\n", limit, 1) }
		const short = "systemd keeps %d descriptors of this unit where 5 are needed, so that a restart may refuse connections: set FileDescriptorStoreMax=5 or more"
		for limit, line := range []string{"", "FileDescriptorStoreMax=1\n"} {
			sb.Unit("web.service", unit(line))
			sb.Do("systemctl", "start", "web")
			say := fmt.Sprintf(short, limit)
			noted := func(s control.Status) bool { return strings.Contains(strings.Join(s.Notes, "\n"), say) }
			p.awaitStatus(noted)
			sb.WaitShow("web", "StatusText", "running: 4 of 4 workers ready, generation 1; "+say)
			p.upgrade(0) // the next image finds out by itself
			p.awaitStatus(noted)
			sb.Do("systemctl", "stop", "web")
		}
		sb.Unit("web.service", unit("FileDescriptorStoreMax=5\n"))
		sb.Do("systemctl", "start", "web")
		sb.WaitShow("web", "NFileDescriptorStore", "5")
		p.reload()
		sb.WaitShow("web", "StatusText", "running: 4 of 4 workers ready, generation 2")
		if s := p.status(); len(s.Notes) > 0 {
			t.Errorf("notes: %q", s.Notes)
		}
	})
}
