package bench_test

import (
	"context"
	"os/exec"
	"testing"
	"time"

	"fugue/bench"
	"fugue/e2e"
)

// BenchmarkHandover: the longest time without an answer of the loop while the
// master replaces itself, beside the same program run bare, which does nothing
// but say its version.
func BenchmarkHandover(b *testing.B) { gaps(b, (*bench.Pool).MustUpgrade) }

// BenchmarkTakeover: the same from the SIGKILL of the master over the start of
// another; systemd would wait for RestartSec in between.
func BenchmarkTakeover(b *testing.B) { gaps(b, (*bench.Pool).Succeed) }

func gaps(b *testing.B, replace func(*bench.Pool)) {
	p := run(b, bench.Dir(b), "orphans = \"keep\"\n"+pool(b, goWorker, 4, listener))
	var fugue, bare figures
	for b.Loop() {
		fugue.add(gap(p, func() { replace(p) }))
		begin := time.Now()
		if err := exec.Command(e2e.Fugue(b), "version").Run(); err != nil {
			b.Fatal(err)
		}
		bare.add(time.Since(begin))
	}
	pair(b, fugue, bare, time.Millisecond, "ms")
}

// gap asks the master one question after the other while act goes on, and
// returns the longest time from one answer to the next.
func gap(p *bench.Pool, act func()) time.Duration {
	ctx, cancel := context.WithCancel(context.Background())
	longest := make(chan time.Duration)
	first, client := make(chan struct{}), p.Client
	go func() {
		var most time.Duration
		var last time.Time
		for over := false; !over; {
			over = ctx.Err() != nil // one more after the end
			if _, err := client.Version(context.Background()); err != nil {
				continue
			}
			now := time.Now()
			if last.IsZero() {
				close(first)
			} else {
				most = max(most, now.Sub(last))
			}
			last = now
		}
		longest <- most
	}()
	<-first
	act()
	cancel()
	return <-longest
}
