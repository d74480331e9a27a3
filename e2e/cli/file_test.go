package cli_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"fugue/e2e"
)

// A file that was broken since is an error at its place, and nothing else: the
// pool is not touched, and takes the file once it is mended.
func TestFileBrokenAtReload(t *testing.T) {
	p := newPool(t)
	path := filepath.Join(p.dir, "web.toml")
	write := func(workers string) {
		text := fmt.Sprintf("command = [%q]\nworkers = %s\n[listen.http]\nstream = %q\n[restart]\nmin_uptime = \"0\"\n[ready]\nwhen = \"notify\"\n",
			e2e.Testworker(t), workers, p.dir+"/web.sock")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("2")
	p.begin("run", "-c", path)
	before := p.status()
	for workers, says := range map[string]string{
		`"many"`:      `:2:1: error: workers must be a whole number or "auto", not "many"` + "\n",
		"2\nwokers=3": `:3:1: error: unknown key "wokers"; did you mean workers?` + "\n",
		"2]":          `:2:12: error: `,
	} {
		write(workers)
		code, out, errs := ask(t, p.fugue("reload", "web"))
		if want := path + says; code != 78 || len(errs) < len(want) || errs[:len(want)] != want {
			t.Errorf("workers = %s: exit %d, want 78 and %q in\n%s%s", workers, code, want, out, errs)
		}
		p.untouched(before)
	}
	write("3")
	if code, out, errs := ask(t, p.fugue("reload", "web")); code != 0 {
		t.Errorf("the mended file: exit %d\n%s%s", code, out, errs)
	}
	if s := p.status(); s.Generation != before.Generation+1 || s.Ready != 3 {
		t.Errorf("the pool is %+v", s)
	}
}
