package e2e_test

import (
	"strconv"
	"strings"
	"testing"

	"fugue/e2e"
	"fugue/internal/loadtest"
)

// A master without rights: its runtime directory and its store come from the
// unit.
func TestUnprivilegedMaster(t *testing.T) {
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		p := newPool(t, sb, "[listen.http]\nstream = \"127.0.0.1:8080\"\n")
		sb.Unit("web.service", strings.Replace(service, "[Service]\n", "[Service]\nUser=nobody\n", 1))
		sb.Do("systemctl", "start", "web")
		load := sb.Load(loadtest.Config{Address: "127.0.0.1:8080"})
		p.deploy("-version", "v2")
		p.reload()
		load.AwaitVersion("v2")
		p.deploy("-stderr", "no key", "-exit", "4")
		r := sb.Systemctl("reload", "web")
		if r.Code == 0 {
			t.Error(r)
		}
		// It may not read the journal: then the verdict says where to look.
		p.says(nil, []string{"exit status 4", "see journalctl --since=", "SYSLOG_IDENTIFIER=web/"})
		old := p.four()
		for _, w := range old {
			if out := sb.Do("stat", "-c", "%U", "/proc/"+strconv.Itoa(w.PID)); strings.TrimSpace(out) != "nobody" {
				t.Errorf("worker %+v runs as %s", w, out)
			}
		}
		p.deploy("-version", "v3")
		sb.Kill(sb.MainPID("web"))
		sb.WaitMessage("took over from a master that is gone", "-u", "web")
		p.takenOver(old) // a death deploys nothing
		p.reload()
		load.AwaitVersion("v3")
		load.StopWithoutLoss()
	})
}

// The workers' user may differ from the master's: rights are dropped before
// the command runs, and the inbox is theirs alone.
func TestWorkersOfAnotherUser(t *testing.T) {
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		p := newPool(t, sb, "user = \"nobody\"\n[listen.http]\nstream = \"127.0.0.1:8080\"\n[ready]\nwhen = \"notify\"\n")
		sb.Do("systemctl", "start", "web")
		for _, w := range p.workers() {
			status := sb.Do("cat", "/proc/"+strconv.Itoa(w.PID)+"/status")
			p.want("status of a worker", status, "Uid:\t65534\t65534\t65534\t65534", "Gid:\t65534\t65534\t65534\t65534", "CapEff:\t0000000000000000")
		}
		p.deploy("-version", "v2")
		p.reload()
	})
}
