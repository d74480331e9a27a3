package cli_test

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"fugue/e2e"
)

// streams is a pool whose master has two outputs that are not the same.
type streams struct {
	*pool
	places map[string]string // path of all that anything can be written to
}

// A kind is what a stream of the workers may be, beside the journal.
type kind struct {
	value string // in the configuration
	lands string // the place of what is written; "" nowhere
	as    string // how a line looks there
}

func (p *streams) kinds(stream string) []kind {
	master := map[string]string{"stdout": "master.out", "stderr": "master.err"}[stream]
	return []kind{
		{"inherit", master, "%[2]s"},
		{"null", "", ""},
		{"relay", "master.out", "web/%[1]d | %[2]s"},
		{p.places[stream], stream, "%[2]s"},
		{"relay:" + p.places[stream+".relayed"], stream + ".relayed", "web/%[1]d | %[2]s"},
	}
}

// Each pair of what the two streams can be, one after the other by a reload:
// descriptors 1 and 2 of the workers are what they should be, and what is
// written, before and after an upgrade, is where it should be and nowhere else.
func TestStreams(t *testing.T) {
	t.Parallel()
	p := &streams{newPool(t), map[string]string{}}
	for _, name := range []string{"master.out", "master.err", "stdout", "stderr", "stdout.relayed", "stderr.relayed"} {
		p.places[name] = filepath.Join(p.dir, name)
	}
	outs, errs := p.kinds("stdout"), p.kinds("stderr")
	want := map[string][]string{} // lines by place, of all
	step := 0
	for shift := range errs {
		for i := range outs {
			out, err := outs[i], errs[(i+shift)%len(errs)]
			step++
			p.deploy(step, out, err)
			for _, w := range p.status().Workers {
				p.opened(w.PID, 1, out)
				p.opened(w.PID, 2, err)
				want[out.lands] = append(want[out.lands], fmt.Sprintf(out.as, w.Slot, said(step, "start", "out")))
				want[err.lands] = append(want[err.lands], fmt.Sprintf(err.as, w.Slot, said(step, "start", "err")))
			}
			if code, _, errs := ask(t, p.fugue("upgrade", "web")); code != 0 {
				t.Fatalf("upgrade: exit %d\n%s", code, errs)
			}
			slot := p.print(said(step, "later", "out"), said(step, "later", "err"))
			want[out.lands] = append(want[out.lands], fmt.Sprintf(out.as, slot, said(step, "later", "out")))
			want[err.lands] = append(want[err.lands], fmt.Sprintf(err.as, slot, said(step, "later", "err")))
		}
	}
	if code, _, errs := ask(t, p.fugue("stop", "web")); code != 0 {
		t.Fatalf("stop: exit %d\n%s", code, errs)
	}
	if err := p.run.Wait(); err != nil {
		t.Errorf("the master ended with %v", err)
	}
	for name, path := range p.places {
		p.holds(name, path, want[name])
	}
}

// said is a line that says where it is to be.
func said(step int, when, stream string) string {
	return fmt.Sprintf("step %d. %s %s.", step, when, stream)
}

// deploy brings up workers that write to these streams.
func (p *streams) deploy(step int, out, err kind) {
	p.t.Helper()
	path := filepath.Join(p.dir, "web.toml")
	text := fmt.Sprintf("command = [%q, \"-stdout\", %q, \"-stderr\", %q]\nworkers = 2\n[listen.http]\nstream = %q\n[restart]\nmin_uptime = \"0\"\n[ready]\nwhen = \"notify\"\n[log]\nstdout = %q\nstderr = %q\n",
		e2e.Testworker(p.t), said(step, "start", "out"), said(step, "start", "err"), p.dir+"/web.sock", out.value, err.value)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
	if p.run != nil {
		if code, _, errs := ask(p.t, p.fugue("reload", "web")); code != 0 {
			p.t.Fatalf("reload to stdout = %q, stderr = %q: exit %d\n%s", out.value, err.value, code, errs)
		}
		// The old workers have written their last when they have ended.
		for s := p.status(); len(s.Workers) != 2; s = p.status() {
		}
		return
	}
	p.run = p.fugue("run", "-c", path)
	p.run.SysProcAttr.Pdeathsig = syscall.SIGTERM
	for _, to := range []struct {
		name string
		as   func(*os.File)
	}{{"master.out", func(f *os.File) { p.run.Stdout = f }}, {"master.err", func(f *os.File) { p.run.Stderr = f }}} {
		file, err := os.OpenFile(p.places[to.name], os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			p.t.Fatal(err)
		}
		defer file.Close()
		to.as(file)
	}
	if err := p.run.Start(); err != nil {
		p.t.Fatal(err)
	}
	run := p.run
	p.t.Cleanup(func() {
		_ = run.Process.Signal(syscall.SIGTERM)
		_ = run.Wait()
	})
	p.logHas(p.places["master.err"], "generation 1 serves", 1)
}

// opened looks at what a worker has as its descriptor 1 or 2.
func (p *streams) opened(pid, fd int, k kind) {
	p.t.Helper()
	link := func(pid int) string {
		target, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, fd))
		if err != nil {
			p.t.Error(err)
		}
		return target
	}
	is, masters := link(pid), link(p.run.Process.Pid)
	switch {
	case k.value == "inherit" && is == masters:
	case k.value == "null" && is == "/dev/null":
	case strings.HasPrefix(k.value, "relay") && strings.HasPrefix(is, "pipe:") && is != masters:
	case k.value == is:
	default:
		p.t.Errorf("descriptor %d of worker process %d, which is to be %q, is %s; the master's is %s", fd, pid, k.value, is, masters)
	}
}

// print lets a worker write, and says which one.
func (p *streams) print(out, err string) (slot int) {
	p.t.Helper()
	slot, e := p.postTo("/print", url.Values{"stdout": {out}, "stderr": {err}})
	if e != nil {
		p.t.Fatal(e)
	}
	return slot
}

// holds looks that a file has these lines of workers, each once, and no other.
func (p *streams) holds(name, path string, want []string) {
	p.t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		p.t.Error(err)
		return
	}
	left := map[string]int{}
	for _, line := range want {
		left[line]++
	}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSuffix(line, "\n"); strings.Contains(line, "step ") {
			left[line]--
		}
	}
	for line, n := range left {
		if n != 0 {
			p.t.Errorf("%s: %q is missing %d times (below 0: too many)", name, line, n)
		}
	}
}
