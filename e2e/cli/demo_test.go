package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The demo has a directory of its own, which a rehearsal must not take away
// and the next image has to find, and to remove at its end.
func TestDemoIsUpgraded(t *testing.T) {
	p := newPool(t)
	p.run = p.fugue("demo")
	p.run.Env = append(p.run.Env, "TMPDIR="+p.dir, "RUNTIME_DIRECTORY="+filepath.Join(p.dir, "fugue", "demo"))
	p.begin()
	ask := func(args ...string) {
		t.Helper()
		cmd := p.fugue(args...)
		cmd.Env = p.run.Env
		if code, out, errs := ask(t, cmd); code != 0 {
			t.Fatalf("%s: exit %d\n%s%s", strings.Join(args, " "), code, out, errs)
		}
	}
	ask("upgrade", "demo")
	ask("reload", "demo")
	ask("upgrade", "demo")
	if err := p.run.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	p.rest()
	if left, _ := filepath.Glob(filepath.Join(p.dir, "fugue-demo-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := os.Stat(p.dir); err != nil {
		t.Error(err)
	}
}
