package storm_test

import (
	"os"
	"path/filepath"

	"fugue/e2e"
)

// workers is what the file says, and never changes: a number that was scaled
// lasts until it does.
const workers = 4

// config is a pool that fails soon: the walk has no time to wait.
const config = `command = [%s]
workers = 4
[listen.http]
stream = "127.0.0.1:8080"
[listen.local]
stream = "/t/web.sock"
[ready]
timeout = "4s"
[stop]
timeout = "8s"
`

// ctl is a fugue that is always whole, whatever is installed for the master.
const ctl = "/usr/local/bin/fugue"

func (s *storm) prepare() {
	s.Do("mkdir", "-p", filepath.Dir(ctl))
	s.Install(e2e.Fugue(s.t), ctl)
	s.nextVersion()
	s.Unit("web.service", e2e.Service)
	s.Do("systemctl", "start", "web")
}

// installBroken puts a program in the place of fugue that is none.
func (s *storm) installBroken(text string) {
	path := filepath.Join(s.t.TempDir(), "broken")
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		s.t.Fatal(err)
	}
	s.Install(path, "/usr/bin/fugue")
}
