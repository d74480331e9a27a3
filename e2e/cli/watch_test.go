package cli_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A change is a reload, a broken one is told and the next one mends it; a pool
// that logs where it watches does not go round and round.
func TestWatch(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	app := filepath.Join(p.dir, "app")
	if err := os.MkdirAll(filepath.Join(app, "lib"), 0o700); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(app, "lib", "worker.conf")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(conf+"~", []byte(text), 0o600); err != nil { // as editors do
			t.Fatal(err)
		}
		if err := os.Rename(conf+"~", conf); err != nil {
			t.Fatal(err)
		}
	}
	write("version=1\n")
	p.begin(slices.Insert(p.words("-config", conf, "-stderr", "a line of its own"), 1, "--watch", app,
		"--pid-file", app+"/web.pid", "--log.stderr", app+"/worker-{worker}.log")...)
	if !strings.Contains(p.begun, "watching "+app) {
		t.Errorf("it does not say what it watches:\n%s", p.begun)
	}
	write("version=2\n")
	p.await("changed: " + conf)
	p.await("generation 2 serves")
	write("exit=3\n")
	p.await("undone: worker ")
	write("hang=true\n")
	p.await("changed: " + conf)
	write("version=3\n") // does not wait for the one that hangs
	p.await("changed: " + conf)
	p.await("generation 5 serves")
	if code, _, errs := ask(t, p.fugue("upgrade", "web")); code != 0 {
		t.Fatalf("upgrade: exit %d\n%s", code, errs)
	}
	write("version=4\n")
	p.await("changed: " + conf)
	p.await("generation 6 serves")
	if s := p.status(); s.Generation != 6 {
		t.Errorf("generation %d: it has reloaded by itself", s.Generation)
	}
	p = newPool(t)
	code, _, errs := ask(t, p.fugue(slices.Insert(p.words(), 1, "--watch", app+"/nowhere")...))
	if code != 78 || !strings.Contains(errs, "watch "+app+"/nowhere: ") {
		t.Errorf("a directory that is not there: exit %d\n%s", code, errs)
	}
}
