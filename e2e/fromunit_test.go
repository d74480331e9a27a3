package e2e_test

import (
	"strconv"
	"strings"
	"testing"

	"fugue/e2e"
	"fugue/internal/loadtest"
)

var httpLoad = loadtest.Config{Address: "127.0.0.1:8080"}

// asked is the unit of a master without rights, where no D-Bus is: it cannot
// ask systemd itself, and a command of the unit does it for it.
var asked = strings.Replace(service, "[Service]\n", "[Service]\nUser=nobody\nExecStop=+/usr/bin/fugue stop --from-unit web\n", 1)

func newAsked(t *testing.T, sb *e2e.Sandbox, changes ...string) *pool {
	p := newPool(t, sb, "[listen.http]\nstream = \"127.0.0.1:8080\"\n[listen.local]\nstream = \"127.0.0.1:8081\"\n")
	p.install(asked, changes...)
	sb.Do("systemctl", "start", "web")
	return p
}

// A stop is told as such, and a restart refuses nobody.
func TestMasterIsToldOfTheJob(t *testing.T) {
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		p := newAsked(t, sb)
		load := p.Load(httpLoad)
		main := sb.MainPID("web")
		sb.Do("systemctl", "restart", "web")
		p.want("journal", sb.Journal("-u", "web", "_PID="+pid(main)), "workers and sockets are left to the next master")
		load.AwaitMore(50)
		load.StopWithoutLoss()
		p.serves()

		old := p.workers()
		sb.Do("systemctl", "stop", "web")
		journal := sb.Journal("-u", "web")
		for _, bad := range []string{"ask systemd whether", "leaving the stop to systemd", "SIGTERM"} {
			if strings.Contains(journal, bad) {
				t.Errorf("the master was not told, the journal has %q:\n%s", bad, journal)
			}
		}
		p.nothingServes(old)
	})
}

// A master that ends by itself leaves nobody to be told; one that has no
// control socket is stopped by systemd as ever.
func TestNobodyToBeTold(t *testing.T) {
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		p := newAsked(t, sb)
		load := p.Load(httpLoad)
		old := p.workers()
		sb.Kill(sb.MainPID("web"))
		sb.WaitMessage("took over from a master that is gone", "-u", "web")
		p.takenOver(old)
		load.AwaitMore(50)
		load.StopWithoutLoss()

		old = p.workers()
		sb.Do("rm", "/run/fugue/web/control.sock")
		sb.Do("systemctl", "stop", "web")
		p.want("journal", sb.Journal("-u", "web"), "tell the master why it is stopped: pool web", "leaving the stop to systemd")
		p.nothingServes(old)
	})
}

// Without the + sweep and its caretaker have no rights but the unit's user's:
// they ask on the bus, and the lock is where the unit may write.
func TestSweepWithoutRights(t *testing.T) {
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		p := newAsked(t, sb, "RestartSec=1h", "ExecStopPost=/usr/bin/fugue sweep")
		old := p.crash()
		sb.Do("systemctl", "stop", "web")
		p.nothingServes(old)
	}, e2e.WithDBus())
}

func pid(p e2e.Process) string { return strconv.Itoa(p.PID) }
