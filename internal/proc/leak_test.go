package proc

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"fugue/internal/loadtest"
)

// threads counts ours.
func threads(t *testing.T) int { return count(t, "/proc/self/task") }

// zombies counts our dead children.
func zombies(t *testing.T) (n int) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/children", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	return len(strings.Fields(string(b)))
}

// Two hundred children, alive and exiting at once, cost no threads.
func TestChildrenCostNoThreads(t *testing.T) {
	start(t, spec("/bin/true")).wait()
	before := threads(t)
	var runs []*run
	for range 200 {
		runs = append(runs, start(t, spec("/bin/sleep", "1000")))
	}
	for _, r := range runs {
		r.up()
	}
	if n := threads(t); n > before+10 {
		t.Errorf("threads: %d before, %d with 200 children", before, n)
	}
	for _, r := range runs {
		if err := r.Signal(unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range runs {
		if got := r.wait(); got != (Exit{Signal: unix.SIGTERM}) {
			t.Error(got)
		}
	}
	if n := threads(t); n > before+10 {
		t.Errorf("threads: %d before, %d after 200 exits", before, n)
	}
}

func TestNothingLeaks(t *testing.T) {
	round := func(i int) {
		s := spec("/bin/true")
		switch i % 4 {
		case 1:
			s.Plan.Path = "/nonexistent"
		case 2:
			s = spec("/bin/sleep", "1000")
		case 3:
			s = spec("/bin/sh", "-c", "sleep 1000 & exit 1")
		}
		r := newRun(t)
		c, err := Start(s, func(err error) { r.launched <- err }, func() { close(r.exited) })
		if err != nil {
			t.Fatal(err)
		}
		r.Child = c
		if i%4 == 2 {
			_ = r.Signal(unix.SIGTERM)
		}
		<-r.launched
		r.wait()
	}
	for i := range 8 {
		round(i)
	}
	fds, goroutines, thr, children := count(t, "/proc/self/fd"), runtime.NumGoroutine(), threads(t), zombies(t)
	for i := range loadtest.Scale(1000) {
		round(i)
	}
	if n := count(t, "/proc/self/fd"); n > fds {
		t.Errorf("descriptors: %d, then %d", fds, n)
	}
	if n := threads(t); n > thr+4 {
		t.Errorf("threads: %d, then %d", thr, n)
	}
	if n := zombies(t); n > children {
		t.Errorf("children: %d, then %d", children, n)
	}
	// The last goroutine may be on its way out of its callback.
	for deadline := time.Now().Add(patience); runtime.NumGoroutine() > goroutines; runtime.Gosched() {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<16)
			t.Fatalf("goroutines: %d, then %d\n%s", goroutines, runtime.NumGoroutine(), stacks[:runtime.Stack(stacks, true)])
		}
	}
}
