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
				status := sb.Do("cat", "/proc/"+pid(p)+"/status")
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
