package cli_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"fugue/e2e"
	"fugue/internal/control"
)

// nobody is an ordinary user.
const nobody = 65534

// as has a pool run by another user, to whom its directory belongs.
func (p *pool) as(uid int) {
	p.t.Helper()
	if err := os.Chmod(p.dir, 0o755); err != nil {
		p.t.Fatal(err)
	}
	err := filepath.Walk(p.dir, func(path string, _ os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, uid, uid)
	})
	if err != nil {
		p.t.Fatal(err)
	}
	p.uid = uid
	for _, binary := range []string{e2e.Fugue(p.t), e2e.Testworker(p.t)} {
		if err := os.Chmod(filepath.Dir(binary), 0o755); err != nil {
			p.t.Fatal(err)
		}
	}
}

// keeping are words for workers that outlive their master.
func (p *pool) keeping() []string { return slices.Insert(p.words(), 1, "--orphans", "keep") }

// die kills the master and waits for its end.
func (p *pool) die() {
	p.t.Helper()
	if err := p.run.Process.Kill(); err != nil {
		p.t.Fatal(err)
	}
	_ = p.run.Wait() // killed
	_ = p.out.Close()
}

// again runs the pool's words once more, and returns when it says so.
func (p *pool) again(says string, words ...string) {
	p.t.Helper()
	out, in, err := os.Pipe()
	if err != nil {
		p.t.Fatal(err)
	}
	p.run = p.fugue(words...)
	p.run.SysProcAttr.Setpgid, p.run.SysProcAttr.Pdeathsig = true, syscall.SIGTERM
	p.startOn(out, in)
	p.begun = p.await(says)
}

func workersOf(s control.Status) (list []int) {
	for _, w := range s.Workers {
		list = append(list, w.PID)
	}
	return list
}

// gone waits for the end of processes that are nobody's children here.
func gone(t *testing.T, pids []int) {
	t.Helper()
	for _, pid := range pids {
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue
		}
		poll := func() (int, error) {
			return unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(guard.Milliseconds()))
		}
		n, err := poll()
		for errors.Is(err, unix.EINTR) {
			n, err = poll()
		}
		if n != 1 {
			t.Errorf("process %d lives on: %v", pid, err)
		}
		_ = unix.Close(fd)
	}
}

// Without systemd too a killed master costs nothing: who runs the same again
// has the same workers on the same sockets, may it be root or not.
func TestTakeover(t *testing.T) {
	for name, uid := range map[string]int{"root": 0, "ordinary user": nobody} {
		t.Run(name, func(t *testing.T) {
			p := newPool(t)
			p.as(uid)
			words := p.keeping()
			p.begin(words...)
			before := p.status()
			for range 3 {
				p.die()
				flight := takeOff(t, p.dir+"/web.sock") // the workers serve on
				p.again("took over from a master that is gone", words...)
				if now := p.status(); now.State != "running" || !slices.Equal(workersOf(now), workersOf(before)) {
					t.Errorf("the pool was %+v and is %+v\n%s", before, now, p.begun)
				}
				flight.land()
			}
			if code, _, errs := ask(t, p.fugue("reload", "web")); code != 0 {
				t.Errorf("reload: exit %d\n%s", code, errs)
			}
			gone(t, workersOf(before))
			takeOff(t, p.dir+"/web.sock").land()
			if code, _, errs := ask(t, p.fugue("stop", "web")); code != 0 {
				t.Errorf("stop: exit %d\n%s", code, errs)
			}
		})
	}
}

// One at a time: who comes while the first lives is told so and touches nothing.
func TestASecondRunIsRefused(t *testing.T) {
	p := start(t)
	before := p.status()
	code, out, errs := ask(t, p.fugue(p.words()...))
	if code == 0 || !strings.Contains(errs, "already") {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
	p.untouched(before)
}

// Where nothing lives of what was written down, the file decides.
func TestNothingToTakeOver(t *testing.T) {
	p := newPool(t)
	p.begin(p.keeping()...)
	workers := workersOf(p.status())
	p.die()
	for _, pid := range workers {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	gone(t, workers)
	p.again("generation 1 serves", p.keeping()...)
	if strings.Contains(p.begun, "took over") {
		t.Errorf("it says\n%s", p.begun)
	}
	if now := p.status(); now.Generation != 1 || now.Ready != 2 || slices.Equal(workersOf(now), workers) {
		t.Errorf("%+v", now)
	}
}

// Sockets that only processes of another user hold cannot be had back: that is
// said, and what would help.
func TestTakeoverIsNotPermitted(t *testing.T) {
	p := newPool(t)
	p.as(0)
	words := slices.Insert(p.keeping(), 1, "--user", "daemon")
	p.begin(words...)
	workers := workersOf(p.status())
	t.Cleanup(func() {
		for _, pid := range workers {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	p.die()
	p.as(nobody)
	cmd := p.fugue(p.keeping()...)
	late := time.AfterFunc(guard, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	text, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || !strings.Contains(string(text), "kernel.yama.ptrace_scope") || !strings.Contains(string(text), "fugue sweep") {
		t.Errorf("%v\n%s", err, text)
	}
}
