package servers_test

import (
	"bufio"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
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

var update = flag.Bool("update", false, "write the table of docs/SERVERS.md")

// TestMain lets more servers run at a time than there are processors: they
// mostly wait for each other's end.
func TestMain(m *testing.M) {
	_ = flag.Set("test.parallel", "4")
	os.Exit(e2e.Main(m))
}

// guard bounds what should have happened long before, on a machine that has
// other things to do.
const guard = 3 * time.Minute

// stopTimeout is how long a server may take for its end before it is killed.
const stopTimeout = time.Minute

// pool is the pool "web" of a fugue run that is a child of the test.
type pool struct {
	t       *testing.T
	dir     string // of the test; named in the environment of every worker
	config  string
	run     *exec.Cmd
	events  <-chan control.Event
	ended   <-chan struct{}
	Address string
}

// release is what a worker is made from.
type release struct {
	command []string // {version} is the version; the rest is fugue's to fill in
	version string   // VERSION in the environment too
	workers int
	listen  string            // more of [listen.http]
	address string            // of the listener; empty: any
	top     string            // more of the file, before its tables
	stop    string            // more of [stop]
	ready   string            // ready.timeout; empty: that of a machine that has other things to do
	files   map[string]string // templates in testdata, by the name that {dir} has them under
}

// startPool runs a pool and returns when it serves.
func startPool(t *testing.T, r release) *pool {
	t.Helper()
	dir, err := os.MkdirTemp("", "f") // short: a unix socket is to be in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	p := &pool{t: t, dir: dir, config: filepath.Join(dir, "web.toml")}
	p.deploy(r)

	p.run = p.fugue("run", "-c", p.config)
	log := &output{seen: make(chan struct{}), text: " serves"}
	p.run.Stdout, p.run.Stderr = log, log
	// If the test is killed, fugue is told to stop, and ends its workers.
	p.run.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := p.run.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	p.ended = ended
	go func() {
		_ = p.run.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = p.run.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(guard):
			t.Error("fugue did not end after SIGTERM")
			_ = p.run.Process.Kill()
			<-ended
		}
		if left := processes(t, dir); len(left) > 0 {
			t.Errorf("left behind: %v", left)
			for _, pid := range left {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		if t.Failed() {
			t.Logf("fugue run:\n%s", log)
		}
	})
	select {
	case <-log.seen:
	case <-ended:
		t.Fatalf("fugue ended: %v", p.run.ProcessState)
	case <-time.After(guard):
		t.Fatal("the pool does not serve")
	}
	p.Address = p.status().Listeners[0].Address
	p.events = p.follow()
	return p
}

// deploy writes the release to the file, for the next reload.
func (p *pool) deploy(r release) {
	p.t.Helper()
	apps, err := filepath.Abs("testdata")
	if err != nil {
		p.t.Fatal(err)
	}
	if r.address == "" {
		r.address = "127.0.0.1:0"
	}
	writeFiles(p.t, p.dir, r, r.address)
	var words []string
	for _, w := range r.command {
		words = append(words, fmt.Sprintf("%q", strings.NewReplacer("{version}", r.version, "{dir}", p.dir).Replace(w)))
	}
	// The times are those of interpreters that start on a busy machine.
	text := fmt.Sprintf(`command = [%s]
directory = %q
workers = %d
%s
[environment]
VERSION = %q
SERVERS_TEST = %q
ADDRESS = "{addr}"
HOST = "{host}"
PORT = "{port}"
SOCKET = "{fd}"
[listen.http]
stream = %q
%s
[reload]
max_surge = 1
timeout = "3m"
[ready]
timeout = %q
[stop]
timeout = %q
%s
[restart]
min_uptime = "200ms"
`, strings.Join(words, ", "), apps, r.workers, r.top, r.version, p.dir, r.address, r.listen, cmp.Or(r.ready, "2m"), stopTimeout, r.stop)
	if err := os.WriteFile(p.config, []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// writeFiles fills in the templates of servers that read no environment.
func writeFiles(t *testing.T, dir string, r release, address string) {
	t.Helper()
	for name, template := range r.files {
		text, err := os.ReadFile(filepath.Join("testdata", template))
		if err != nil {
			t.Fatal(err)
		}
		filled := strings.NewReplacer("@DIR@", dir, "@ADDRESS@", address, "@VERSION@", r.version).Replace(string(text))
		path := filepath.Join(dir, strings.ReplaceAll(name, "{version}", r.version))
		if err := os.WriteFile(path, []byte(filled), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// reload deploys a release and waits for the verdict, which must be good.
func (p *pool) reload(r release) {
	p.t.Helper()
	p.deploy(r)
	if text, err := p.fugue("reload", "web").CombinedOutput(); err != nil {
		p.t.Fatalf("fugue reload: %v\n%s", err, text)
	}
}

func (p *pool) status() (s control.Status) {
	p.t.Helper()
	text, err := p.fugue("status", "web", "-o", "json").Output()
	if err != nil {
		p.t.Fatalf("fugue status: %v\n%s", err, text)
	}
	if err := json.Unmarshal(text, &s); err != nil {
		p.t.Fatal(err)
	}
	return s
}

// follow runs fugue events. Events that nobody takes wait in the channel, so
// that none is lost.
func (p *pool) follow() <-chan control.Event {
	p.t.Helper()
	cmd := p.fugue("events", "web", "-o", "json")
	out, err := cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	events := make(chan control.Event, 10_000)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer close(events)
		for lines := bufio.NewReader(out); ; {
			line, err := lines.ReadBytes('\n')
			if err != nil {
				break
			}
			var e control.Event
			if json.Unmarshal(line, &e) == nil {
				events <- e
			}
		}
		_ = cmd.Wait()
	}()
	p.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	// It does not say that it follows: it does when it tells of what is done now.
	late := time.After(guard)
	for {
		if err := p.run.Process.Signal(syscall.SIGUSR1); err != nil {
			p.t.Fatal(err)
		}
		select {
		case _, more := <-events:
			if !more {
				p.t.Fatal("fugue events ended")
			}
			return events
		case <-time.After(time.Second):
		case <-late:
			p.t.Fatal("fugue events tells nothing")
		}
	}
}

// await takes events until one is enough.
func (p *pool) await(what string, enough func(control.Event) bool) control.Event {
	p.t.Helper()
	patience := time.NewTimer(guard)
	defer patience.Stop()
	for {
		select {
		case e, more := <-p.events:
			if !more {
				p.t.Fatalf("the events ended before %s", what)
			}
			if enough(e) {
				return e
			}
		case <-patience.C:
			p.t.Fatalf("no %s", what)
		}
	}
}

// awaitExits waits for the end of that many workers.
func (p *pool) awaitExits(n int) {
	p.t.Helper()
	if n == 0 {
		return
	}
	p.await(fmt.Sprintf("end of %d workers", n), func(e control.Event) bool {
		switch e.Kind {
		case "lost":
			p.t.Fatal(e.Text)
		case "exited":
			n--
		}
		return n == 0
	})
}

// fugue is the program with the pool's own runtime directory.
func (p *pool) fugue(args ...string) *exec.Cmd {
	cmd := exec.Command(e2e.Fugue(p.t), args...)
	cmd.Env = append(baseEnv(p.dir), "RUNTIME_DIRECTORY="+filepath.Join(p.dir, "fugue", "web"))
	return cmd
}
