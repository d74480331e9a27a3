package leaks_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"fugue/bench"
	"fugue/e2e"
	"fugue/internal/control"
	"fugue/internal/loadtest"
)

func TestMain(m *testing.M) { os.Exit(e2e.Main(m)) }

const workers = 4

// run starts a pool of workers with a socket, words over the notify socket and
// output: everything of a worker that could be left behind.
func run(t *testing.T) *bench.Pool {
	t.Helper()
	dir := bench.Dir(t)
	p := bench.Run(t, e2e.Fugue(t), dir, fmt.Sprintf(`
command = [%q, "-idle-grace", "-1s", "-stderr", "hello", "-notify", "STATUS=warm"]
workers = %d
[listen.http]
stream = "%s/web.sock"
[ready]
when = "notify"
[restart]
min_uptime = "0"
`, e2e.Testworker(t), workers, dir))
	return p
}

// A sample is taken when no worker is on its way.
type sample struct{ threads, rss int }

func take(t *testing.T, p *bench.Pool) sample { return sample{p.Threads(t), p.RSS(t)} }

func medians(window []sample) sample {
	median := func(of func(sample) int) int {
		var all []int
		for _, s := range window {
			all = append(all, of(s))
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	return sample{median(func(s sample) int { return s.threads }), median(func(s sample) int { return s.rss })}
}

// check compares the last tenth with that from 40 to 50 per cent.
func check(t *testing.T, samples []sample) {
	t.Helper()
	n := len(samples)
	early, late := medians(samples[n*4/10:n*5/10+1]), medians(samples[n*9/10:])
	t.Logf("%d rounds; medians at 40 to 50 per cent and at the end: threads %d, %d; RSS %d, %d KiB",
		n, early.threads, late.threads, early.rss, late.rss)
	for _, s := range samples {
		if s.threads >= 20 {
			t.Fatalf("%d threads", s.threads)
		}
	}
	if late.threads > early.threads+2 {
		t.Errorf("the threads grow: %d, then %d", early.threads, late.threads)
	}
	if float64(late.rss) > 1.1*float64(early.rss)+2048 {
		t.Errorf("the memory grows: RSS %d KiB, then %d", early.rss, late.rss)
	}
}

// same waits until the descriptors are as they were and every child is a living
// worker. The exit of a worker is published before the last goroutine that read
// its output has closed the pipe; each look is a request to the master, so the
// master gets its turn between them.
func same(t *testing.T, p *bench.Pool, before []string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; p.MustStatus() {
		fds := p.FDs(t)
		running, zombies := p.Children(t)
		if len(fds) <= len(before) && running == workers && zombies == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d children and %d zombies; descriptors before:\n%s\nand now:\n%s",
				running, zombies, strings.Join(before, "\n"), strings.Join(fds, "\n"))
		}
	}
}

// settled is the smallest set of descriptors seen in some looks: a connection
// to the control socket may be on its way out in one of them.
func settled(t *testing.T, p *bench.Pool) []string {
	t.Helper()
	least := p.FDs(t)
	for range 20 {
		p.MustStatus()
		if fds := p.FDs(t); len(fds) < len(least) {
			least = fds
		}
	}
	return least
}

func TestReloadsLeaveNothing(t *testing.T) {
	p := run(t)
	rounds := max(40, loadtest.Scale(1000))
	var before []string
	var samples []sample
	for i := range rounds {
		p.MustReload()
		p.AwaitExits(workers)
		samples = append(samples, take(t, p))
		if i == 9 {
			before = settled(t, p)
		}
	}
	same(t, p, before)
	check(t, samples)
	if s := p.MustStatus(); s.State != control.StateRunning || s.Generation != rounds+1 {
		t.Errorf("after %d reloads: %s, generation %d", rounds, s.State, s.Generation)
	}
}

func TestKillsLeaveNothing(t *testing.T) {
	p := run(t)
	rounds := max(40, loadtest.Scale(2000))
	victims := make([]int, 0, workers)
	for _, w := range p.MustStatus().Workers {
		victims = append(victims, w.PID)
	}
	var before []string
	var samples []sample
	for i := range rounds {
		if err := unix.Kill(victims[0], unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		next := p.Await("replacement", func(e control.Event) bool { return e.Kind == "available" && !slices.Contains(victims, e.PID) })
		victims = append(victims[1:], next.PID)
		samples = append(samples, take(t, p))
		if i == 9 {
			before = settled(t, p)
		}
	}
	same(t, p, before)
	check(t, samples)
}
