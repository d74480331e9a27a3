package e2e_test

import (
	"strconv"
	"strings"
	"testing"

	"fugue/e2e"
)

// A listener that refuses connections stays in systemd's fd store, is shut down
// for a successor too, and serves again with the first worker.
func TestRefusingUnderSystemd(t *testing.T) {
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		// The third try in a row is not seen in this test.
		p := newPool(t, sb, "when_empty = \"refuse\"\n"+selfBound+"[restart]\nbackoff = \"1h\"\nmax_backoff = \"1h\"\n")
		p.deploy("-config", "/etc/fugue/flags")
		sb.File("/etc/fugue/flags", "version=v1\n")
		sb.Do("systemctl", "start", "web")
		sb.WaitShow("web", "StatusText", "running: 4 of 4 workers ready, generation 1")
		p.connects("127.0.0.1:8080", true)
		stored := sb.ShowInt("web", "NFileDescriptorStore")

		refuses := func() {
			t.Helper()
			sb.WaitShowAs("web", "StatusText", func(text string) bool { return strings.Contains(text, "no worker is left, refusing connections") })
			p.connects("127.0.0.1:8080", false)
			if c, err := sb.Dial("unix", "/t/web.sock"); err != nil {
				t.Errorf("a unix socket holds connections: %v", err)
			} else {
				c.Close()
			}
			if now := sb.ShowInt("web", "NFileDescriptorStore"); now != stored {
				t.Errorf("%d fds in the store, %d before", now, stored)
			}
		}
		sb.File("/etc/fugue/flags", "exit=1\n")
		for _, worker := range p.workers() {
			sb.Signal(worker, 9)
		}
		refuses()
		sb.WaitMessage("connections to local wait")

		master := sb.MainPID("web")
		sb.Kill(master)
		sb.WaitShowAs("web", "MainPID", func(pid string) bool { return pid != "0" && pid != strconv.Itoa(master.PID) })
		refuses()

		sb.File("/etc/fugue/flags", "version=v2\n")
		if r := sb.Exec("fugue", "reload", "web"); r.Code != 0 {
			t.Fatalf("%v\n%s", r, sb.Journal("-u", "web"))
		}
		p.connects("127.0.0.1:8080", true)
		sb.WaitShow("web", "NFileDescriptorStore", strconv.Itoa(stored))
	})
}
