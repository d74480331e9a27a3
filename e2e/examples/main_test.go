package examples_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"fugue/e2e"
	"fugue/internal/control"
)

func TestMain(m *testing.M) { os.Exit(e2e.Main(m)) }

// guard bounds what should have happened long before, on a machine that has
// other things to do.
const guard = 3 * time.Minute

// tempDir is a directory for one test, with a short path: a unix socket is to be in it.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "f")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil { // workers of another user pass through
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// example is the path of a file of examples/.
func example(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(filepath.Join("../../examples", path))
	if err != nil {
		t.Fatal(err)
	}
	return abs
}

// pool is a pool of one of the examples; what runs it is a child of the test.
type pool struct {
	t    *testing.T
	dir  string
	name string
	env  []string // more of it
	run  *exec.Cmd
	out  *os.File      // its output
	log  *bufio.Reader // who waits for a line reads it
	text strings.Builder
	done bool
}

// environ has Debian's interpreters first, whatever a version manager has put
// into the tester's own environment.
func (p *pool) environ() []string {
	return append([]string{
		"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=" + p.dir, "TMPDIR=" + p.dir,
		"PYTHONDONTWRITEBYTECODE=1",
		"FUGUE_BINARY=" + e2e.Fugue(p.t),
		"NODE_PATH=" + example(p.t, "node") + ":/usr/share/nodejs",
		"RUNTIME_DIRECTORY=" + filepath.Join(p.dir, "fugue", p.name),
	}, p.env...)
}

func (p *pool) command(words ...string) *exec.Cmd {
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Env = p.environ()
	return cmd
}

// start runs the words, which run the pool.
func (p *pool) start(words ...string) {
	p.t.Helper()
	out, in, err := os.Pipe()
	if err != nil {
		p.t.Fatal(err)
	}
	p.run = p.command(words...)
	p.run.Dir = p.dir
	p.run.Stdout, p.run.Stderr = in, in
	p.run.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	err = p.run.Start()
	in.Close()
	if err != nil {
		p.t.Fatal(err)
	}
	p.out, p.log, p.done = out, bufio.NewReader(out), false
	p.t.Cleanup(func() {
		p.stop()
		if p.t.Failed() {
			p.t.Logf("output:\n%s", &p.text)
		}
		out.Close()
	})
}

// await reads what the pool writes up to a line that has text in it.
func (p *pool) await(text string) string {
	p.t.Helper()
	_ = p.out.SetReadDeadline(time.Now().Add(guard))
	for {
		line, err := p.log.ReadString('\n')
		p.text.WriteString(line)
		if strings.Contains(line, text) {
			return line
		}
		if err != nil {
			p.t.Fatalf("no %q: %v", text, err)
		}
	}
}

// heard is await for a line that may have been read already: what two processes
// write has no order.
func (p *pool) heard(text string) string {
	p.t.Helper()
	for line := range strings.Lines(p.text.String()) {
		if strings.Contains(line, text) {
			return line
		}
	}
	return p.await(text)
}

// end is what the pool wrote to its end, and how it ended.
func (p *pool) end() int {
	p.t.Helper()
	if p.done {
		return p.run.ProcessState.ExitCode()
	}
	p.done = true
	late := time.AfterFunc(guard, func() {
		p.t.Error("the pool did not end")
		_ = p.run.Process.Kill()
	})
	defer late.Stop()
	_ = p.out.SetReadDeadline(time.Now().Add(guard))
	_, _ = io.Copy(&p.text, p.log) // to the end of the last that writes there
	_ = p.run.Wait()
	return p.run.ProcessState.ExitCode()
}

// stop ends the pool, which must be without a fault.
func (p *pool) stop() {
	p.t.Helper()
	if p.done || p.run == nil {
		return
	}
	_ = p.run.Process.Signal(syscall.SIGTERM)
	if code := p.end(); code != 0 {
		p.t.Errorf("the pool ended with %d after SIGTERM", code)
	}
}

// fugue runs a command about the pool, which must succeed.
func (p *pool) fugue(args ...string) string {
	p.t.Helper()
	out, err := p.command(append([]string{e2e.Fugue(p.t)}, args...)...).CombinedOutput()
	if err != nil {
		p.t.Fatalf("fugue %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (p *pool) status() (s control.Status) {
	p.t.Helper()
	var out, errs bytes.Buffer
	cmd := p.command(e2e.Fugue(p.t), "status", p.name, "-o", "json")
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		p.t.Fatal(err)
	}
	if err := json.Unmarshal(out.Bytes(), &s); err != nil {
		p.t.Fatalf("status: %v\n%s%s", err, out.Bytes(), errs.Bytes())
	}
	return s
}

func (p *pool) reload() { p.t.Helper(); p.fugue("reload", p.name) }

// dial connects to the pool's first listener.
func (p *pool) dial() net.Conn {
	p.t.Helper()
	l := p.status().Listeners[0]
	return dial(p.t, l.Network, reachable(l.Address))
}

// reachable is an address that connects to a listener on all addresses.
func reachable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil || !net.ParseIP(host).IsUnspecified() {
		return address
	}
	return net.JoinHostPort("127.0.0.1", port)
}

func dial(t *testing.T, network, address string) net.Conn {
	t.Helper()
	c, err := net.DialTimeout(network, address, guard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(guard))
	return c
}

// hello reads what a connection says to its end.
func (p *pool) hello() string {
	p.t.Helper()
	c := p.dial()
	defer c.Close() // the worker's drain waits for it
	text, err := io.ReadAll(c)
	if err != nil {
		p.t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// pids are those of the pool's workers.
func (p *pool) pids() (pids []int) {
	p.t.Helper()
	for _, w := range p.status().Workers {
		pids = append(pids, w.PID)
	}
	return pids
}

func fugueBinary(t *testing.T) string { t.Helper(); return e2e.Fugue(t) }
