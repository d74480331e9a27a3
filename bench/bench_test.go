package bench_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"fugue/bench"
	"fugue/e2e"
)

func TestMain(m *testing.M) { os.Exit(e2e.Main(m)) }

const patience = 2 * time.Minute

// program is one of the two that only benchmarks need, built when first asked
// for, beside those of e2e, which removes them.
func program(b *testing.B, name string) string {
	b.Helper()
	path := filepath.Join(filepath.Dir(e2e.Fugue(b)), name)
	if _, err := os.Stat(path); err == nil {
		return path
	}
	cmd := exec.Command("go", "build", "-o", path, "fugue/bench/probe")
	if name == "instant" {
		cmd = exec.Command("cc", "-O2", "-static", "-o", path, "testdata/instant.c")
	}
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("build %s: %v\n%s", name, err, text)
	}
	return path
}

// task is the probe at work until the end of the benchmark, or stop.
type task struct {
	out  *bufio.Reader
	stop func()
}

func start(b *testing.B, env []string, args ...string) *task {
	b.Helper()
	cmd := exec.Command(program(b, "probe"), args...)
	cmd.Env, cmd.Stderr = env, os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	stop := sync.OnceFunc(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	b.Cleanup(stop)
	return &task{bufio.NewReader(out), stop}
}

// monotonic is the clock that the instant worker tells, in nanoseconds.
func monotonic() int64 {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	return now.Nano()
}

// An inbox hears instant workers.
type inbox struct {
	b    *testing.B
	conn *net.UnixConn
	path string
}

func listen(b *testing.B, dir, name string) *inbox {
	b.Helper()
	path := filepath.Join(dir, name)
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close() })
	return &inbox{b, conn, path}
}

func (i *inbox) next() string {
	i.b.Helper()
	buf := make([]byte, 512)
	i.conn.SetReadDeadline(time.Now().Add(patience))
	n, err := i.conn.Read(buf)
	if err != nil {
		i.b.Fatal(err)
	}
	return string(buf[:n])
}

// began is who has started, and when, by its own clock.
func (i *inbox) began() (pid int, at int64) {
	i.b.Helper()
	text := i.next()
	if _, err := fmt.Sscan(text, &pid, &at); err != nil {
		i.b.Fatalf("%q: %v", text, err)
	}
	return pid, at
}

// figures are what one thing took, over and over.
type figures []float64

func (f *figures) add(d time.Duration) { *f = append(*f, float64(d)) }

func (f figures) median() float64 {
	if len(f) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(f))
	return sorted[len(sorted)/2]
}

// pair prints two medians in unit, their difference and their ratio.
func pair(b *testing.B, fugue, bare figures, unit time.Duration, name string) {
	b.Helper()
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(fugue.median()/float64(unit), "fugue-"+name)
	b.ReportMetric(bare.median()/float64(unit), "bare-"+name)
	b.ReportMetric((fugue.median()-bare.median())/float64(unit), "more-"+name)
	b.ReportMetric(fugue.median()/bare.median(), "ratio")
	b.ReportMetric(float64(len(fugue)), "pairs")
}

// ask connects, says something that is an HTTP request too, and returns what is
// answered; "" if nobody is there yet.
func ask(network, address string) string {
	conn, err := net.Dial(network, address)
	if err != nil {
		return ""
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n")
	answer, _ := io.ReadAll(conn) // reset behind its answer by who does not read
	return string(answer)
}

// freePort is one that nobody has at the moment.
func freePort(b *testing.B) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// A worker is one of the two programs that are managed here.
type worker struct {
	name    string
	command func(b *testing.B) []string
}

var (
	instant  = worker{"instant", func(b *testing.B) []string { return []string{program(b, "instant"), "ready"} }}
	goWorker = worker{"go", func(b *testing.B) []string { return []string{e2e.Testworker(b), "-idle-grace", "-1s"} }}
)

// pool is the configuration of n workers that say READY=1.
func pool(b *testing.B, w worker, n int, more ...string) string {
	b.Helper()
	var command []string
	for _, word := range w.command(b) {
		command = append(command, strconv.Quote(word))
	}
	return fmt.Sprintf("command = [%s]\nworkers = %d\n%s\n[ready]\nwhen = \"notify\"\n[restart]\nmin_uptime = \"0\"\n",
		strings.Join(command, ", "), n, strings.Join(more, "\n"))
}

// run starts such a pool.
func run(b *testing.B, dir, config string) *bench.Pool {
	b.Helper()
	return bench.Run(b, e2e.Fugue(b), dir, config)
}

// spawnBare starts n workers with nothing between them and their parent, and
// says how long it took until the last was ready.
func spawnBare(b *testing.B, w worker, n int) time.Duration {
	b.Helper()
	dir := bench.Dir(b)
	in := listen(b, dir, "bare")
	args := append([]string{"many", strconv.Itoa(n)}, w.command(b)...)
	if w.name == "go" {
		args = append(args, "-addr", "127.0.0.1:0")
	}
	t := start(b, []string{"NOTIFY_SOCKET=" + in.path}, args...)
	defer t.stop()
	for range n {
		if text := in.next(); !strings.HasPrefix(text, "READY=1") {
			b.Fatal(text)
		}
	}
	end := monotonic()
	line, err := t.out.ReadBytes('\n')
	if err != nil {
		b.Fatal(err)
	}
	begin, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return time.Duration(end - begin)
}
