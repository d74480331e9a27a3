package servers_test

import (
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"fugue/internal/control"
	"fugue/internal/loadtest"
)

// family is a worker with all that it has started, each held by a pidfd, so
// that a number used again is not taken for it.
type family map[int]int

func (p *pool) family() family {
	p.t.Helper()
	f := make(family)
	for _, pid := range processes(p.t, p.dir) {
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue // it has ended since
		}
		p.t.Cleanup(func() { unix.Close(fd) })
		f[pid] = fd
	}
	return f
}

// alive are those that have not ended. A pidfd is readable from the end of its
// process on (pidfd_open(2)), whoever is to reap it.
func (f family) alive(t *testing.T) (pids []int) {
	t.Helper()
	for pid, fd := range f {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}

// gunicorn's workers outlive their master's SIGKILL for long, with the socket,
// and would serve old code beside the new.
func TestNothingOutlivesAKilledGunicorn(t *testing.T) {
	need(t, gunicorn)
	command := slices.Clone(gunicorn.command)
	command[slices.Index(command, "1")] = "2"
	p := startPool(t, release{command: command, version: "v1", workers: 1})
	load := startLoad(t, loadtest.Config{Address: p.Address, Rate: 50})
	awaitPIDs(t, load, 2)

	master := p.status().Workers[0].PID
	old := p.family()
	if _, found := old[master]; !found || len(old) < 3 {
		t.Fatalf("want gunicorn's master %d with two workers, not %v", master, old.alive(t))
	}
	if err := syscall.Kill(master, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// Looked at when the successor is only just started: what is seen after the
	// event "ready" might have ended after it.
	next := p.await("start of the replacement", func(e control.Event) bool { return e.Kind == "spawned" })
	if left := old.alive(t); len(left) > 0 {
		t.Errorf("the replacement starts, and of the killed gunicorn %v live", left)
	}
	p.await("ready replacement", func(e control.Event) bool { return e.Kind == "ready" && e.PID == next.PID })
	r := load.Stop()
	if r.New.Refused+r.New.TimedOut > 0 {
		t.Errorf("only what was in the killed gunicorn's hands may be lost: %v", r)
	}
}

// awaitPIDs waits until so many processes have answered.
func awaitPIDs(t *testing.T, load *loadtest.Load, n int) {
	t.Helper()
	err := load.Await(t.Context(), func(r *loadtest.Report) bool { return len(r.PIDs) >= n })
	if err != nil {
		t.Fatal(err)
	}
}

// A shell that waits for its server dies of SIGTERM alone.
func TestAShellLeavesNothing(t *testing.T) {
	need(t, loop)
	command := []string{"/bin/sh", "-c", "/usr/bin/python3 loop.py 3 & wait"}
	p := startPool(t, release{command: command, version: "v1", workers: 2})
	old := p.family()
	if len(old) != 4 {
		t.Fatalf("want two shells with a server each, not %v", old.alive(t))
	}
	p.reload(release{command: command, version: "v2", workers: 2})
	p.awaitExits(2)
	if left := old.alive(t); len(left) > 0 {
		t.Errorf("both shells have ended, and of them and their servers %v live", left)
	}
	// What the stop of the pool leaves is looked for at the end of every test.
}
