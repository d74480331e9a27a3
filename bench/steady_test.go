package bench_test

import (
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fugue/bench"
	"fugue/e2e"
)

// BenchmarkThousand: one pool of a thousand instant workers.
func BenchmarkThousand(b *testing.B) {
	const workers = 1000
	for range b.N {
		p := run(b, bench.Dir(b), pool(b, instant, workers, "[reload]", `max_surge = "100%"`))
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(p.UpAfter.Seconds(), "start-s")
		b.ReportMetric(float64(p.RSS(b))/1024, "started-RSS-MiB")
		begin := time.Now()
		p.MustReload()
		b.ReportMetric(time.Since(begin).Seconds(), "reload-s")
		p.AwaitExits(workers)
		b.ReportMetric(float64(p.RSS(b))/1024, "reloaded-RSS-MiB")
		b.ReportMetric(float64(p.Threads(b)), "threads")
		begin = time.Now()
		p.Stop()
		b.ReportMetric(time.Since(begin).Seconds(), "stop-s")
		b.ReportMetric(spawnBare(b, instant, workers).Seconds(), "bare-start-s")
	}
}

// BenchmarkIdle: a pool of four that nobody asks for anything, in windows of
// 20 s of which the best counts: the machine may have woken it in the others.
func BenchmarkIdle(b *testing.B) {
	const window = 20 * time.Second
	for range b.N {
		p := run(b, bench.Dir(b), pool(b, goWorker, 4, listener))
		before, cpu := p.Wakeups(b), p.CPU(b)
		best := -1
		for range 3 {
			<-time.After(window)
			now := p.Wakeups(b)
			if best < 0 || now-before < best {
				best = now - before
			}
			before = now
		}
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(float64(best), "wakeups/20s")
		b.ReportMetric(float64((p.CPU(b) - cpu).Milliseconds()), "cpu-ms/60s")
		b.ReportMetric(float64(p.RSS(b))/1024, "RSS-MiB")
		b.ReportMetric(float64(p.USS(b))/1024, "USS-MiB")
		b.ReportMetric(float64(p.Threads(b)), "threads")
		p.Stop()
	}
}

// BenchmarkDataPath: new connections a second to one Go worker, standing alone
// and under fugue, in turn.
func BenchmarkDataPath(b *testing.B) {
	alone := freePort(b)
	cmd := exec.Command(e2e.Testworker(b), "-addr", alone)
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for ask("tcp", alone) == "" {
		continue // it is about to bind
	}
	managed := freePort(b)
	run(b, bench.Dir(b), pool(b, goWorker, 1, fmt.Sprintf("[listen.http]\nstream = %q", managed)))
	var under, bare figures
	for range b.N {
		for range 3 {
			bare = append(bare, rate(alone))
			under = append(under, rate(managed))
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(under.median(), "fugue-conns/s")
	b.ReportMetric(bare.median(), "bare-conns/s")
	b.ReportMetric(under.median()/bare.median(), "ratio")
}

// rate is the answers a second that eight clients get, one connection each.
func rate(address string) float64 {
	const clients, window = 8, 2 * time.Second
	var answers atomic.Int64
	var asking sync.WaitGroup
	begin := time.Now()
	for range clients {
		asking.Go(func() {
			for time.Since(begin) < window {
				if strings.Contains(ask("tcp", address), "200 OK") {
					answers.Add(1)
				}
			}
		})
	}
	asking.Wait()
	return float64(answers.Load()) / time.Since(begin).Seconds()
}
