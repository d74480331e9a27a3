package servers_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"fugue/activation"
	"fugue/e2e"
	"fugue/internal/control"
	"fugue/internal/loadtest"
)

// reloads is how often each server is reloaded: 20 times in a full run.
func reloads() int { return max(3, loadtest.Scale(20)) }

// need skips where the server is not installed, or fails if that is required.
func need(t *testing.T, s server) {
	t.Helper()
	e2e.NeedFiles(t, append(s.command[:1:1], s.needs...)...)
}

func (s server) load() loadtest.Config {
	return loadtest.Config{
		// One in twenty takes 50 ms, so that every other stop or so comes while
		// one is under way.
		Paths: append(slices.Repeat([]string{"/"}, 19), "/slow?ms=50"),
		Rate:  s.rate, KeepAlive: s.kept,
		Timeout: time.Minute, Max: 1_000_000, For: time.Hour,
	}
}

func startLoad(t *testing.T, c loadtest.Config) *loadtest.Load {
	t.Helper()
	load, err := loadtest.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { load.Stop() })
	return load
}

// awaitVersion waits until the load was answered by this version.
func awaitVersion(t *testing.T, load *loadtest.Load, version string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), guard)
	defer cancel()
	err := load.Await(ctx, func(r *loadtest.Report) bool {
		_, seen := r.Saw(version)
		return seen
	})
	if err != nil {
		t.Fatalf("no answer of %s: %v\n%v", version, err, load.Stop())
	}
}

// unserved counts requests that a server ended by its stop: it closed the
// connection without an answer, or said itself that it failed. hypercorn ends a
// request that has just come with a 500.
func unserved(r *loadtest.Report) int {
	n := 0
	for _, c := range []loadtest.Counts{r.New, r.Kept} {
		n += c.EOF + c.Reset + c.BadStatus
	}
	return n
}

// reloadUnderLoad has two workers replaced by each of the releases in turn, and
// returns what became of a load that outlasts the last of them that was stopped.
func reloadUnderLoad(t *testing.T, s server, releases []release) *loadtest.Report {
	t.Helper()
	p := startPool(t, releases[0])
	config := s.load()
	config.Address = p.Address
	if s.front != nil {
		config.Address = s.front(t, p.Address)
	}
	load := startLoad(t, config)
	awaitVersion(t, load, releases[0].version)
	awaitEveryWorker(t, p, load)
	if got := nonBlocking(t, p.Address); got == s.blocking {
		t.Errorf("O_NONBLOCK is %v on the socket of %s", got, s.name)
	}
	for _, r := range releases[1:] {
		p.reload(r)
		awaitVersion(t, load, r.version)
	}
	p.awaitExits(2 * (len(releases) - 1))
	report := load.Stop()
	if !finishes(t, p, config.Address) {
		t.Errorf("%s: a request of two seconds was cut off by the stop of the pool", s.name)
	}
	return report
}

// nonBlocking tells of O_NONBLOCK on the socket that listens at an address.
func nonBlocking(t *testing.T, address string) bool {
	t.Helper()
	for _, h := range activation.HolderOf("tcp", address) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", h.PID, h.FD))
		if err != nil {
			continue // a worker that has ended meanwhile
		}
		_, rest, _ := strings.Cut(string(text), "flags:")
		flags, err := strconv.ParseUint(strings.Fields(rest)[0], 8, 64)
		if err != nil {
			t.Fatal(err)
		}
		return flags&unix.O_NONBLOCK != 0
	}
	t.Fatalf("nobody holds %s", address)
	return false
}

// awaitEveryWorker waits until each worker has answered, or a process that it
// has started: they are one process group.
func awaitEveryWorker(t *testing.T, p *pool, load *loadtest.Load) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), guard)
	defer cancel()
	workers := p.status().Workers
	err := load.Await(ctx, func(r *loadtest.Report) bool {
		seen := map[int]bool{}
		for _, s := range r.PIDs {
			if pid, err := strconv.Atoi(s.Text); err == nil {
				if group, err := unix.Getpgid(pid); err == nil {
					seen[group] = true
				}
			}
		}
		return !slices.ContainsFunc(workers, func(w control.Worker) bool { return !seen[w.PID] })
	})
	if err != nil {
		t.Fatalf("not every worker has answered: %v", err)
	}
}

// checkFlow is what fugue owes to every server, however that one stops.
func checkFlow(t *testing.T, r *loadtest.Report) {
	t.Helper()
	for _, c := range []loadtest.Counts{r.New, r.Kept} {
		if c.Refused > 0 || c.TimedOut > 0 || c.Local > 0 {
			t.Errorf("want none refused, none timed out: %v", r)
		}
	}
}

// A pool can change its language. Whoever sets O_NONBLOCK sets it for all that
// hold the socket, so the blocking loop meets node's flag, and keeps it; and
// workers in Go serve after either.
func TestReloadBetweenNodeABlockingLoopAndGo(t *testing.T) {
	need(t, node)
	need(t, loop)
	var releases []release
	turn := []server{node, loop, golang(t)}
	for i := range reloads() + 1 {
		releases = append(releases, turn[i%len(turn)].release(i))
	}
	r := reloadUnderLoad(t, turn[0], releases)
	t.Logf("%d reloads: %v", len(releases)-1, r)
	if err := r.Check(); err != nil {
		t.Error(err)
	}
}

// freeAddress is one that nobody has at this moment.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
