package e2e_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fugue/e2e"
	"fugue/internal/control"
)

// Each limit of a worker's cgroup is the kernel's where the machine has the
// controller and systemd leaves it to us; elsewhere it is refused, with what is
// wanting.
func TestLimitsOfCgroups(t *testing.T) {
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		p := newPool(t, sb, selfBound)
		p.delegated()
		sb.DaemonReload()
		sb.Do("systemctl", "start", "web")
		there := strings.Fields(sb.ReadFile("/sys/fs/cgroup/cgroup.controllers"))
		for _, c := range []struct{ limit, controller, file, value string }{
			{`memory_max = "64M"`, "memory", "memory.max", "67108864"},
			{`memory_high = "48M"`, "memory", "memory.high", "50331648"},
			{"tasks_max = 40", "pids", "pids.max", "40"},
			{"cpu_weight = 10", "cpu", "cpu.weight", "10"},
		} {
			name, _, _ := strings.Cut(c.limit, " ")
			switch {
			case !slices.Contains(there, c.controller):
				p.refused(c.limit, name+": this machine has no "+c.controller+" controller")
			case sb.SystemdVersion() < 254:
				p.refused(c.limit, name+": no controller can be on below web.service while its main process is in the cgroup of the unit itself: add DelegateSubgroup=fugue")
			default:
				p.limited(c.limit, c.file, c.value)
			}
		}
		if slices.Contains(there, "memory") && sb.SystemdVersion() >= 254 {
			p.outOfMemory()
		}
		p.serves()
	})
}

// limited reloads with a limit and reads from the kernel that each worker has it.
func (p *pool) limited(limit, file, value string) {
	p.t.Helper()
	p.tables = selfBound + "[limits]\n" + limit + "\n"
	p.deploy("-version", file)
	p.reload()
	p.awaitFour()
	dirs, err := filepath.Glob(filepath.Join(p.Cgroup(), p.Show("web", "ControlGroup"), "worker-*"))
	if err != nil || len(dirs) < 4 {
		p.t.Errorf("cgroups of workers: %v (%v)", dirs, err)
	}
	found := 0
	for _, dir := range dirs {
		if b, err := os.ReadFile(filepath.Join(dir, file)); err == nil && strings.TrimSpace(string(b)) == value {
			found++
		}
	}
	if found != 4 {
		p.t.Errorf("%d workers have %s = %s", found, file, value)
	}
}

// outOfMemory has a worker take more than it may, which the kernel ends for it,
// and another more than it is to keep, which is replaced for it. Both are said.
func (p *pool) outOfMemory() {
	p.t.Helper()
	p.tables = selfBound + "[limits]\nmemory_max = \"128M\"\n[recycle]\nmax_memory = \"64M\"\n"
	p.deploy("-version", "small")
	p.reload()
	if _, err := p.Client("").Get("http://127.0.0.1:8080/alloc?mb=200"); err == nil {
		p.t.Error("a worker took 200 MB and lives")
	}
	p.WaitMessage("ended: killed by the kernel for memory", "-u", "web")
	p.Get("http://127.0.0.1:8080/alloc?mb=90")
	p.WaitMessage("recycled for its memory", "-u", "web")
	// The stand-in has not been weighed yet.
	weighed := func(w control.Worker) bool { return w.Memory > 0 }
	s := p.awaitStatus(func(s control.Status) bool {
		return s.Ready == 4 && len(s.Workers) == 4 && slices.ContainsFunc(s.Workers, weighed)
	})
	for _, w := range s.Workers {
		if weighed(w) && (w.MemoryFrom != "cgroup" || w.Memory < 1<<20 || w.Memory > 64<<20) {
			p.t.Errorf("worker %d uses %d by %q", w.Slot, w.Memory, w.MemoryFrom)
		}
	}
}
