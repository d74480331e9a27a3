package examples_test

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"fugue/internal/loadtest"
)

// A worker whose event loop hangs is replaced.
func TestRequestTimeout(t *testing.T) {
	t.Parallel()
	p := old(t, 0, "127.0.0.1", 1, map[string]any{"worker_to_master_ping_interval": 100, "worker_kill_timeout": 5000})
	p.env = append(p.env, "STUCK=1")
	p.serve()
	stuck := p.pids()
	ends := watch(t, stuck)
	if _, err := io.WriteString(p.dial(), "hang\n"); err != nil {
		t.Fatal(err)
	}
	awaitEnds(t, ends)
	for deadline := time.Now().Add(guard); ; {
		if pids := p.pids(); len(pids) > 0 && !slices.Contains(pids, stuck[0]) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("it was not replaced")
		}
	}
}

// Pings every 50 ms cost no descriptor, in the worker and in the master.
func TestNoPipeOrDescriptorLeaksUnderPings(t *testing.T) {
	t.Parallel()
	p := old(t, 0, "127.0.0.1", 1, map[string]any{"worker_to_master_ping_interval": 50, "worker_kill_timeout": 120_000})
	p.serve()
	master, worker := p.status().PID, p.pids()[0]
	measure := func() (fds [2]int) {
		fds = [2]int{1 << 30, 1 << 30}
		for range 5 { // the least: who asks is a descriptor himself for a moment
			fds[0] = min(fds[0], p.ask().FDs)
			fds[1] = min(fds[1], descriptors(t, master))
		}
		return fds
	}
	awaitPings(t, p, worker, 10)
	before := measure()
	n := 10 + loadtest.Scale(400)
	awaitPings(t, p, worker, n)
	after := measure()
	for deadline := time.Now().Add(guard); (after[0] > before[0] || after[1] > before[1]) && time.Now().Before(deadline); {
		after = measure() // who asked may be on his way out yet
	}
	if after[0] > before[0] || after[1] > before[1] {
		t.Errorf("descriptors of worker and master: %v, after %d pings %v", before, n, after)
	}
	if pid := p.pids()[0]; pid != worker {
		t.Errorf("worker %d was replaced by %d", worker, pid)
	}
}

func descriptors(t *testing.T, pid int) int {
	t.Helper()
	all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// awaitPings waits until the worker's helper has sent so many: each is one write
// of 10 bytes.
func awaitPings(t *testing.T, p *pool, worker, n int) {
	t.Helper()
	for deadline := time.Now().Add(guard); time.Now().Before(deadline); p.ask() {
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", worker, worker))
		if err != nil {
			t.Fatal(err)
		}
		for _, child := range strings.Fields(string(children)) {
			text, err := os.ReadFile("/proc/" + child + "/io")
			if err != nil {
				continue
			}
			_, after, _ := strings.Cut(string(text), "wchar: ")
			var written int
			if _, err := fmt.Sscan(after, &written); err == nil && written >= n*len("WATCHDOG=1") {
				return
			}
		}
	}
	t.Fatalf("no %d pings", n)
}
