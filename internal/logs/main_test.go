package logs

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if role, ok := os.LookupEnv("FUGUE_TEST"); ok {
		chatter(role)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// padding makes a line of about a hundred bytes.
var padding = " " + strings.Repeat("x", 80)

// chatter writes numbered lines to both streams at once, in pieces; long ones
// after a "long ".
func chatter(count string) {
	count, long := strings.CutPrefix(count, "long ")
	n, _ := strconv.Atoi(count)
	var both sync.WaitGroup
	for _, f := range []*os.File{os.Stdout, os.Stderr} {
		both.Go(func() {
			for i := range n {
				line := fmt.Sprintf("line %d of %d\n", i, n)
				if long {
					line = strings.TrimSuffix(line, "\n") + padding + "\n"
				}
				half := len(line) / 2
				if i%7 != 0 {
					half = len(line)
				}
				if _, err := f.WriteString(line[:half]); err != nil {
					os.Exit(3)
				}
				if _, err := f.WriteString(line[half:]); err != nil {
					os.Exit(3)
				}
			}
		})
	}
	both.Wait()
}

const patience = 60 * time.Second

// A sink takes lines from all streams, as a file does.
type sink struct {
	mu   sync.Mutex
	b    bytes.Buffer
	torn bool // a write was not of whole lines
	seen chan struct{}
}

func newSink() *sink { return &sink{seen: make(chan struct{}, 1)} }

func (s *sink) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.torn = s.torn || !bytes.HasSuffix(b, []byte("\n"))
	select {
	case s.seen <- struct{}{}:
	default:
	}
	return s.b.Write(b)
}

func (s *sink) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// await waits until the sink holds the text.
func (s *sink) await(t *testing.T, text string) {
	t.Helper()
	deadline := time.After(patience)
	for !strings.Contains(s.String(), text) {
		select {
		case <-s.seen:
		case <-deadline:
			t.Fatalf("%q did not come; there is %q", text, s.String())
		}
	}
}

func relay(t *testing.T, s *sink) *Relay {
	t.Helper()
	r, err := New(Writers{Stdout: s, Stderr: s}, "web/1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Started)
	return r
}

// work starts a worker on the relay; the function waits for its end.
func work(t *testing.T, r *Relay, cred *syscall.Credential, env []string, argv ...string) (pid int, wait func() syscall.WaitStatus) {
	t.Helper()
	out, errs := r.Worker()
	pid, err := syscall.ForkExec(argv[0], argv, &syscall.ProcAttr{Env: append(env, "PATH=/usr/bin:/bin"),
		Files: []uintptr{0, uintptr(out), uintptr(errs)}, Sys: &syscall.SysProcAttr{Credential: cred}})
	if err != nil {
		t.Fatal(err)
	}
	r.Started()
	waited := false
	wait = func() (ws syscall.WaitStatus) {
		if _, err := syscall.Wait4(pid, &ws, 0, nil); err != nil {
			t.Error(err)
		}
		waited = true
		return ws
	}
	t.Cleanup(func() {
		if !waited {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			wait()
		}
	})
	return pid, wait
}

func sh(t *testing.T, r *Relay, script string) (pid int, wait func() syscall.WaitStatus) {
	t.Helper()
	return work(t, r, nil, nil, "/bin/sh", "-c", script)
}

func end(t *testing.T, r *Relay) {
	t.Helper()
	select {
	case <-r.Done():
	case <-time.After(patience):
		t.Fatal("the streams did not end")
	}
}
