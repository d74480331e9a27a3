package e2e_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"fugue/e2e"
	"fugue/internal/control"
	"fugue/internal/loadtest"
)

// delegated is a unit whose cgroups are the pool's own; with hardening that
// forbids clone3 where that is newer.
func (p *pool) delegated() {
	p.t.Helper()
	unit := service + "Delegate=yes\n"
	if p.SystemdVersion() >= 254 {
		unit += "DelegateSubgroup=fugue\nRestrictNamespaces=yes\n"
	}
	p.Unit("web.service", unit)
}

// deployDaemons deploys workers each of which has a daemon: it has left its
// parent, its session and its group.
func (p *pool) deployDaemons(version string) {
	p.t.Helper()
	p.File("/etc/fugue/web.toml", fmt.Sprintf(`command = ["/bin/sh", "-c", "setsid sh -c 'sleep 100000 &'; exec /usr/bin/testworker -version %s"]
workers = 4
%s`, version, p.tables))
}

// fenced is a worker, with what is in its cgroup.
type fenced struct {
	living
	daemon e2e.Process
	cgroup string // outside
}

// fences reads from the kernel who is in which cgroup: four workers, each with
// its daemon alone in one that nobody else has.
func (p *pool) fences() (list []fenced) {
	p.t.Helper()
	// A daemon that was just forked still has its shell's words.
	p.awaitStatus(func(control.Status) bool {
		return !slices.ContainsFunc(p.workers(), func(q e2e.Process) bool { return strings.HasPrefix(q.Command, "sh -c sleep") })
	})
	daemons := map[string]e2e.Process{}
	for _, q := range p.workers() {
		b, _ := os.ReadFile("/proc/" + strconv.Itoa(q.Outside) + "/cgroup")
		_, path, _ := strings.Cut(string(b), "0::")
		path, _, _ = strings.Cut(path, "\n")
		_, in, own := strings.Cut(path, "/system.slice/web.service/")
		own = own && strings.HasPrefix(in, "worker-")
		switch l, ok := lookAt(q); {
		case ok && own:
			list = append(list, fenced{living: l, cgroup: in})
		case q.Command == "sleep 100000" && own:
			daemons[in] = q
		case ok || own:
			p.t.Errorf("%v is in %q", q, path)
		} // else something that the master runs
	}
	for i := range list {
		f := &list[i]
		if f.daemon = daemons[f.cgroup]; f.daemon.PID == 0 {
			p.t.Errorf("%v has no daemon in %s", f.living, f.cgroup)
		}
		if !strings.HasPrefix(f.cgroup, fmt.Sprintf("worker-%d.", f.slot)) {
			p.t.Errorf("%v is in %s", f.living, f.cgroup)
		}
	}
	if len(list) != 4 || len(daemons) != 4 {
		p.t.Errorf("%d workers and %d daemons: %v", len(list), len(daemons), list)
	}
	return list
}

// awaitFour waits until four workers serve and nothing else of the pool lives.
func (p *pool) awaitFour() control.Status {
	p.t.Helper()
	return p.awaitStatus(func(s control.Status) bool { return s.Ready == 4 && len(s.Workers) == 4 && s.State == "running" })
}

// onlyTheirs waits until there are no cgroups but those of living workers.
func (p *pool) onlyTheirs() {
	p.t.Helper()
	var want []string
	for _, f := range p.fences() {
		want = append(want, f.cgroup)
	}
	slices.Sort(want)
	p.awaitStatus(func(control.Status) bool {
		var have []string
		dirs, _ := filepath.Glob(filepath.Join(p.Cgroup(), p.Show("web", "ControlGroup"), "worker-*"))
		for _, dir := range dirs {
			have = append(have, filepath.Base(dir))
		}
		slices.Sort(have)
		return slices.Equal(have, want)
	})
}

// A worker has a cgroup of its own in a unit with Delegate=, over upgrades and
// masters that die. What it has started goes with it, however far it had gone
// away, and nothing is left behind.
func TestCgroupsOfWorkers(t *testing.T) {
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		p := newPool(t, sb, selfBound)
		sb.Install(e2e.Fugue(t), ctl)
		p.delegated()
		p.deployDaemons("v1")
		sb.Do("systemctl", "start", "web")
		p.awaitFour()

		// killed: one worker is, and its daemon is gone when another serves.
		killed := func() {
			t.Helper()
			old := p.fences()[0]
			sb.Kill(old.Process)
			p.awaitStatus(func(s control.Status) bool {
				return s.Ready == 4 && !slices.ContainsFunc(s.Workers, func(w control.Worker) bool { return w.PID == old.PID })
			})
			// The kernel lists no zombies there.
			if slices.ContainsFunc(sb.Processes("web"), func(q e2e.Process) bool { return q.PID == old.daemon.PID }) {
				t.Errorf("%v lives, and %v that had started it was replaced", old.daemon, old.living)
			}
			p.awaitFour()
			p.onlyTheirs()
		}
		killed()
		for range loadtest.Scale(20) {
			p.deployDaemons("v2")
			p.reload()
			p.awaitFour()
			p.onlyTheirs()
		}

		before := p.fences()
		same := func(how string) {
			t.Helper()
			if after := p.fences(); fmt.Sprint(after) != fmt.Sprint(before) {
				t.Errorf("%s: %v became %v", how, before, after)
			}
		}
		p.upgrade(0)
		same("upgrade")
		killed()

		before = p.fences()
		sb.Kill(sb.MainPID("web"))
		succeeded := func(n string) {
			t.Helper()
			sb.WaitShow("web", "NRestarts", n)
			sb.WaitState("web", "running")
		}
		succeeded("1")
		p.awaitFour()
		same("takeover")
		if out := sb.Journal("-u", "web"); strings.Contains(out, "of a predecessor") {
			t.Errorf("a worker's daemon is a stranger:\n%s", out)
		}
		killed()

		// One that ended with its master: what it left is a predecessor's.
		old := p.fences()[1]
		master := sb.MainPID("web")
		sb.Signal(master, unix.SIGSTOP)
		p.await("the master to stand still", func() bool { return standsStill(t, master.Outside) })
		sb.Kill(old.Process)
		sb.Kill(master)
		succeeded("2")
		sb.WaitGone(old.daemon)
		p.awaitFour()
		p.onlyTheirs()

		if r := sb.Systemctl("restart", "web"); r.Code != 0 {
			t.Fatal(r)
		}
		p.awaitFour()
		p.onlyTheirs()
		path := filepath.Join(sb.Cgroup(), sb.Show("web", "ControlGroup"))
		sb.Do("systemctl", "stop", "web")
		if left := sb.Processes("web"); len(left) > 0 {
			t.Errorf("left after the stop: %v", left)
		}
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s is there after the stop", path)
		}
	})
}

// standsStill reports that every thread of a process has heard its SIGSTOP.
func standsStill(t *testing.T, pid int) bool {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(tasks) == 0 {
		t.Fatalf("look at the threads of %d: %v", pid, err)
	}
	return !slices.ContainsFunc(tasks, func(path string) bool {
		b, err := os.ReadFile(path)
		return err == nil && !strings.HasPrefix(string(b[bytes.LastIndexByte(b, ')')+1:]), " T")
	})
}

// What the unit has not been given is refused with the line that is wanting,
// and the pool goes on as it was.
func TestCgroupsNotDelegated(t *testing.T) {
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		p := newPool(t, sb, selfBound)
		sb.Do("systemctl", "start", "web")
		for _, w := range p.workers() {
			if b, err := os.ReadFile("/proc/" + strconv.Itoa(w.Outside) + "/cgroup"); err != nil || strings.Contains(string(b), "worker-") {
				t.Errorf("%v is in %s (%v)", w, b, err)
			}
		}
		p.refused("cgroup = true", "cgroup: systemd has not left the cgroups below web.service to it: add Delegate=yes to its [Service]")
		p.delegated()
		sb.DaemonReload()
		p.tables = selfBound
		p.deploy("-version", "v1")
		sb.Do("systemctl", "restart", "web")
		p.tables = selfBound + "[limits]\ncgroup = true\n"
		p.deploy("-version", "v3")
		p.reload()
		p.serves()
	})
}

// refused is a reload with this limit, which is refused with this reason.
func (p *pool) refused(limit, why string) {
	p.t.Helper()
	p.tables = selfBound + "[limits]\n" + limit + "\n"
	p.deploy("-version", "v2")
	r := p.Exec("fugue", "reload", "web")
	p.want(fmt.Sprint("reload with ", limit), r.Out+r.Err, "/etc/fugue/web.toml:8:1: error: limits."+why)
	if r.Code != control.ExitBadInput {
		p.t.Errorf("exit %d", r.Code)
	}
}
