package bench_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"fugue/bench"
	"fugue/internal/control"
)

// BenchmarkSpawn: from before the fork to the worker's main, through the shim
// and without it.
func BenchmarkSpawn(b *testing.B) {
	var fugue, bare figures
	for range b.N {
		t := start(b, []string{"TMPDIR=" + bench.Dir(b)}, "spawn", "300", program(b, "instant"))
		for d := json.NewDecoder(t.out); ; {
			var took [2]time.Duration
			if err := d.Decode(&took); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				b.Fatal(err)
			}
			bare.add(took[0])
			fugue.add(took[1])
		}
		t.stop()
	}
	pair(b, fugue, bare, time.Microsecond, "µs")
}

// BenchmarkCrash: from the SIGKILL of a worker to the main of its replacement;
// bare is a parent that does nothing but wait and fork.
func BenchmarkCrash(b *testing.B) {
	dir := bench.Dir(b)
	managed, kept := listen(b, dir, "managed"), listen(b, dir, "kept")
	p := run(b, dir, strings.Replace(pool(b, instant, 1,
		fmt.Sprintf("environment = { INSTANT = %q }", managed.path)), "notify\"\n", "started\"\n", 1))
	start(b, []string{"INSTANT=" + kept.path}, "keep", program(b, "instant"))
	ours, _ := managed.began()
	theirs, _ := kept.began()
	kill := func(pid *int, in *inbox) time.Duration {
		begin := monotonic()
		if err := unix.Kill(*pid, unix.SIGKILL); err != nil {
			b.Fatal(err)
		}
		next, at := in.began()
		*pid = next
		return time.Duration(at - begin)
	}
	var fugue, bare figures
	for b.Loop() {
		fugue.add(kill(&ours, managed))
		// Killed before it was available it would have failed to start.
		p.Await("replacement", func(e control.Event) bool { return e.Kind == "available" && e.PID == ours })
		bare.add(kill(&theirs, kept))
	}
	pair(b, fugue, bare, time.Microsecond, "µs")
}

// BenchmarkFirstAnswer: from the request of a reload to the first answer of the
// new generation, beside from the fork of a bare worker to its first answer.
func BenchmarkFirstAnswer(b *testing.B) {
	for _, w := range []worker{instant, goWorker} {
		b.Run(w.name, func(b *testing.B) {
			dir := bench.Dir(b)
			socket := dir + "/web.sock"
			p := run(b, dir, pool(b, w, 1, fmt.Sprintf("[listen.http]\nstream = %q", socket)))
			var fugue, bare figures
			for generation := 2; b.Loop(); generation++ {
				fugue.add(reloaded(p, socket, generation))
				p.AwaitExits(1)
				bare.add(bareAnswer(b, w))
			}
			pair(b, fugue, bare, time.Millisecond, "ms")
		})
	}
}

func reloaded(p *bench.Pool, socket string, generation int) time.Duration {
	begin, done := time.Now(), make(chan struct{})
	go func() {
		defer close(done)
		p.MustReload()
	}()
	instant, header := fmt.Sprintf("%d\n", generation), fmt.Sprintf("X-Generation: %d\r", generation)
	for {
		answer := ask("unix", socket)
		if answer == instant || strings.Contains(answer, header) {
			break
		}
	}
	took := time.Since(begin)
	<-done
	return took
}

func bareAnswer(b *testing.B, w worker) time.Duration {
	b.Helper()
	address := freePort(b)
	command := w.command(b)
	attr := &syscall.ProcAttr{Env: []string{}, Files: []uintptr{0, 1, 2}}
	if w.name == "go" {
		command = append(command, "-addr", address)
	} else {
		fd := listenRaw(b, address)
		defer unix.Close(fd)
		attr.Env, attr.Files = []string{"LISTEN_FDS=1"}, append(attr.Files, uintptr(fd))
	}
	begin := time.Now()
	pid, err := syscall.ForkExec(command[0], command, attr)
	if err != nil {
		b.Fatal(err)
	}
	for ask("tcp", address) == "" {
		continue // a Go worker binds by itself
	}
	took := time.Since(begin)
	_ = unix.Kill(pid, unix.SIGKILL)
	_, _ = syscall.Wait4(pid, nil, 0, nil)
	return took
}

func listenRaw(b *testing.B, address string) int {
	b.Helper()
	var port int
	if _, err := fmt.Sscanf(address, "127.0.0.1:%d", &port); err != nil {
		b.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	err = errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.Bind(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(fd, 128))
	if err != nil {
		b.Fatal(err)
	}
	return fd
}

// BenchmarkStart: from the fork of fugue to its READY=1 with all workers ready,
// and the same workers spawned bare.
func BenchmarkStart(b *testing.B) {
	for _, w := range []worker{instant, goWorker} {
		for _, n := range []int{4, 64} {
			b.Run(fmt.Sprintf("%s-%d", w.name, n), func(b *testing.B) {
				var fugue, bare figures
				for b.Loop() {
					p := run(b, bench.Dir(b), pool(b, w, n, listener))
					fugue.add(p.UpAfter)
					p.Stop()
					bare.add(spawnBare(b, w, n))
				}
				pair(b, fugue, bare, time.Millisecond, "ms")
			})
		}
	}
}

// listener is what the Go worker needs to serve.
const listener = "[listen.http]\nstream = \"127.0.0.1:0\""

// BenchmarkReload: from the request to the verdict; bare is the start alone.
func BenchmarkReload(b *testing.B) {
	for _, w := range []worker{instant, goWorker} {
		for _, n := range []int{4, 64} {
			for _, surge := range []string{"1", `"100%"`} {
				b.Run(fmt.Sprintf("%s-%d/surge=%s", w.name, n, strings.Trim(surge, "\"")), func(b *testing.B) {
					p := run(b, bench.Dir(b), pool(b, w, n, listener, "[reload]", "max_surge = "+surge))
					var fugue, bare figures
					for b.Loop() {
						begin := time.Now()
						p.MustReload()
						fugue.add(time.Since(begin))
						p.AwaitExits(n)
						bare.add(spawnBare(b, w, n))
					}
					pair(b, fugue, bare, time.Millisecond, "ms")
				})
			}
		}
	}
}
