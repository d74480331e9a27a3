package master

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"fugue/internal/cgroup"
	"fugue/internal/control"
	"fugue/pool"
)

const bounded = "[recycle]\nmax_memory = \"100M\""

// weigh says what workers use from now on, in MiB; the others nothing.
func (h *harness) weigh(mib map[*process]uint64) {
	h.with(func() {
		h.memory = map[int]uint64{}
		for p, n := range mib {
			h.memory[p.pid] = n << 20
		}
	})
}

// What is too large three times in a row, and not for a moment.
func TestRecycleByMemory(t *testing.T) {
	whole(t, bounded, func(h *harness) {
		p, q := h.worker(1), h.worker(2)
		h.weigh(map[*process]uint64{p: 101, q: 79})
		h.pass(15 * time.Second)
		h.weigh(map[*process]uint64{q: 79})
		h.pass(time.Hour)
		if h.bornNow() != 3 {
			t.Fatalf("%d workers in all; %s", h.bornNow(), h.tale())
		}
		h.weigh(map[*process]uint64{p: 101, q: 79})
		h.pass(35 * time.Second)
		h.serve(1, 3)
		if h.bornNow() != 4 || p.toldNow() != 1 {
			t.Errorf("%d workers in all; %s", h.bornNow(), h.tale())
		}
		h.logged("too large: it uses 101 MiB (PSS of its processes), and goes at", "of the 100 MiB that are allowed")
		h.logged("is to be replaced: recycled for its memory: it uses 101 MiB (PSS")
	})
}

// Where its cgroup knows, that is what counts, and whoever asks is told.
func TestMemoryOfItsCgroup(t *testing.T) {
	whole(t, bounded, func(h *harness) {
		p := h.worker(2)
		h.weigh(map[*process]uint64{p: 60})
		h.pass(20 * time.Second)
		h.measured(p.slot, 60<<20, FromPSS)
		h.with(func() { h.weighsCgroups = true })
		h.pass(10 * time.Second)
		h.measured(p.slot, 60<<20, FromCgroup)
		h.weigh(map[*process]uint64{p: 140})
		h.deploy("v1", manner{ready: time.Minute, drain: time.Second})
		h.pass(40 * time.Second)
		h.mentions(h.measured(p.slot, 140<<20, FromCgroup).Note, "its memory: it uses 140 MiB (its cgroup), and goes at")
		h.pass(2 * time.Minute)
		h.logged("recycled for its memory: it uses 140 MiB (its cgroup)")
	})
}

// measured is what status says of a worker.
func (h *harness) measured(slot int, bytes uint64, from WeightFrom) control.Worker {
	h.Helper()
	for _, w := range h.status().Workers {
		if w.Slot == slot {
			if w.Memory != bytes || w.MemoryFrom != string(from) {
				h.Errorf("worker %d uses %d by %q, want %d by %q", slot, w.Memory, w.MemoryFrom, bytes, from)
			}
			return w
		}
	}
	h.Fatalf("there is no worker %d", slot)
	return control.Worker{}
}

// Those that grow alike do not all come to their limit together.
func TestMemoryIsSpread(t *testing.T) {
	const n = 8
	started(t, "workers = 8\n"+bounded, func(h *harness) {
		all := h.alive(1)
		wentAt := map[uint64]int{}
		for mib := uint64(70); mib <= 101; mib++ {
			grown := map[*process]uint64{}
			for _, p := range all {
				grown[p] = mib
			}
			h.weigh(grown)
			before := h.bornNow()
			h.pass(5 * time.Minute) // enough for all of them, one after the other
			if went := h.bornNow() - before; went > 0 {
				wentAt[mib] = went
			}
		}
		t.Logf("workers by the MiB at which they went: %v", wentAt)
		total := 0
		for mib, went := range wentAt {
			total += went
			if mib < 80 || mib > 101 || went > n/2 {
				t.Errorf("%d went at %d MiB", went, mib)
			}
		}
		if total != n || len(wentAt) < n/2 {
			t.Errorf("%d went, at %d different sizes", total, len(wentAt))
		}
	})
}

// Those that have come to their limits together go one at a time, the largest
// first, each a while after the one before has been replaced; over a new master
// too.
func TestMemoryOneByOne(t *testing.T) {
	whole(t, bounded, func(h *harness) {
		a, b, c := h.worker(1), h.worker(2), h.worker(3)
		h.weigh(map[*process]uint64{a: 300, b: 500, c: 400})
		begun := time.Now()
		var order []int
		var times []time.Duration
		for range 4000 {
			for _, p := range []*process{a, b, c} {
				if p.toldNow() == 1 && !slices.Contains(order, p.slot) {
					order = append(order, p.slot)
					times = append(times, time.Since(begun))
					if len(order) == 2 {
						h.kill9()
						h.succeed(false)
					}
				}
			}
			h.pass(50 * time.Millisecond)
		}
		if want := []int{b.slot, c.slot, a.slot}; !slices.Equal(order, want) {
			t.Fatalf("they went in the order %v, want %v; %s", order, want, h.tale())
		}
		for i, at := range times[1:] {
			// A replacement is available after 1.1 s.
			if gap := at - times[i]; gap < weighEvery+time.Second {
				t.Errorf("one went %v after the one before", gap)
			}
		}
		h.serve(1, 3)
	})
}

// Each has a share of its own, and the same one at every look.
func TestSpread(t *testing.T) {
	seen := map[uint64]bool{}
	for slot := range 64 {
		at := pool.Spread(100<<20, 3, slot)
		if at < 80<<20 || at > 100<<20 || at != pool.Spread(100<<20, 3, slot) {
			t.Errorf("slot %d goes at %d", slot, at)
		}
		seen[at] = true
	}
	if len(seen) < 50 {
		t.Errorf("%d different sizes of 64", len(seen))
	}
	if pool.Spread(0, 1, 1) != 0 || pool.Spread(1<<63, 1, 1) > 1<<63 {
		t.Error("the ends")
	}
}

// What is read of real processes is about what they use.
func TestMemoryOfAGroup(t *testing.T) {
	group := syscall.Getpgrp()
	used := (&host{}).Memory(map[int]string{group: "", 1 << 30: "/gone"})
	if u := used[group]; u.Bytes < 1<<20 || u.Bytes > 1<<40 || u.From != FromPSS || used[1<<30] != (Weight{0, FromPSS}) || len(used) != 2 {
		t.Errorf("used: %v", used)
	}
}

// The kernel's count is taken where there is one; else what is in the cgroup, and
// what has left the worker's group.
func TestWhatBelongsToAWorker(t *testing.T) {
	cmd := exec.Command("/bin/sh", "-c", `setsid sh -c 'echo $$; exec sleep 1000' & wait`)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 20)
	n, err := out.Read(b)
	child, err2 := strconv.Atoi(strings.TrimSpace(string(b[:n])))
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(child, syscall.SIGKILL)
		_ = cmd.Wait()
	})
	leader := cmd.Process.Pid
	if of := belonging(map[int]int{leader: leader}); of[child] != leader || of[leader] != leader || len(of) != 2 {
		t.Errorf("to worker %d, with a child %d in a session of its own, belong %v", leader, child, of)
	}
	if of := belonging(map[int]int{child: 7}); of[child] != 7 || len(of) != 1 {
		t.Errorf("to what is known: %v", of)
	}

	base := cgroup.Base{Dir: t.TempDir(), Path: "/unit"}
	h, path, dir := &host{cgroup: &base}, "/unit/worker-1.x", filepath.Join(base.Dir, "worker-1.x")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	alone := h.Memory(map[int]string{leader: path})[leader]
	write("cgroup.procs", strconv.Itoa(leader)+"\n"+strconv.Itoa(os.Getpid())+"\n")
	with := h.Memory(map[int]string{leader: path})[leader]
	if alone.From != FromPSS || with.From != FromPSS || alone.Bytes == 0 || with.Bytes < alone.Bytes+1<<20 {
		t.Errorf("by PSS %v, with a large one %v", alone, with)
	}
	write("memory.current", "5000\n")
	write("memory.stat", "inactive_file 1000\nactive_file 0\n")
	if got := h.Memory(map[int]string{leader: path})[leader]; got != (Weight{4000, FromCgroup}) {
		t.Errorf("by its cgroup: %v", got)
	}
}
