package logs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if role, ok := os.LookupEnv("FUGUE_TEST"); ok {
		chatter(role)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// chatter writes numbered lines to both streams at once, in pieces.
func chatter(count string) {
	n, _ := strconv.Atoi(count)
	var both sync.WaitGroup
	for _, f := range []*os.File{os.Stdout, os.Stderr} {
		both.Go(func() {
			for i := range n {
				line := fmt.Sprintf("line %d of %d\n", i, n)
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

func scaled(t *testing.T, full int) int {
	t.Helper()
	s := os.Getenv("FUGUE_TEST_SCALE")
	if s == "" {
		s = "0.1"
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		t.Fatalf("FUGUE_TEST_SCALE: %v", err)
	}
	return max(1, int(float64(full)*f))
}

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
	r, err := New(s, "web/1")
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

func TestRelay(t *testing.T) {
	s := newSink()
	r := relay(t, s)
	_, wait := sh(t, r, `echo one; echo; printf 'no end'`)
	wait()
	end(t, r)
	if d := cmp.Diff("web/1 | one\nweb/1 | \nweb/1 | no end\n", s.String()); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"one", "", "no end"}, r.Tail()); d != "" {
		t.Error(d)
	}
}

func TestTail(t *testing.T) {
	tests := []struct {
		script string
		want   []string
	}{
		{`i=0; while [ $i -lt 12 ]; do echo out; echo err $i >&2; i=$((i+1)); done; printf 'panic: x' >&2`,
			[]string{"err 3", "err 4", "err 5", "err 6", "err 7", "err 8", "err 9", "err 10", "err 11", "panic: x"}},
		{`echo only; echo out`, []string{"only", "out"}},
		{`true`, nil},
		{`head -c 5000 /dev/zero | tr '\0' x >&2`, []string{strings.Repeat("x", tailBytes)}},
	}
	for _, test := range tests {
		r := relay(t, newSink())
		_, wait := sh(t, r, test.script)
		wait()
		end(t, r)
		if d := cmp.Diff(test.want, r.Tail()); d != "" {
			t.Errorf("%s: %s", test.script, d)
		}
	}
}

func TestLongLinesAreSplit(t *testing.T) {
	s := newSink()
	r := relay(t, s)
	_, wait := sh(t, r, `head -c 40000 /dev/zero | tr '\0' x; echo; head -c 16384 /dev/zero | tr '\0' y; echo; echo z`)
	wait()
	end(t, r)
	want := []int{maxRelayed, maxRelayed, 40000 - 2*maxRelayed, 16384, 1}
	var got []int
	for line := range strings.Lines(s.String()) {
		got = append(got, len(line)-len("web/1 | \n"))
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// checkAll looks for every line of both streams, in order.
func checkAll(t *testing.T, s *sink, n int) {
	t.Helper()
	if s.torn {
		t.Error("a line was written in pieces")
	}
	seen := map[int]int{}
	var next [2]int
	for line := range strings.Lines(s.String()) {
		var i, of int
		if _, err := fmt.Sscanf(line, "web/1 | line %d of %d\n", &i, &of); err != nil || of != n {
			t.Fatalf("torn: %q", line)
		}
		// Two streams carry the same lines, so each comes once as either's next.
		switch i {
		case next[0]:
			next[0]++
		case next[1]:
			next[1]++
		default:
			t.Fatalf("line %d came when %v were next", i, next)
		}
		seen[i]++
	}
	if len(seen) != n || next != [2]int{n, n} {
		t.Errorf("%d lines of %d, next %v", len(seen), n, next)
	}
}

func TestNothingIsLostOrReordered(t *testing.T) {
	n := scaled(t, 100_000)
	s := newSink()
	r := relay(t, s)
	exe, _ := os.Executable()
	_, wait := work(t, r, nil, []string{"FUGUE_TEST=" + strconv.Itoa(n)}, exe)
	if ws := wait(); ws.ExitStatus() != 0 {
		t.Errorf("status %#x", ws)
	}
	end(t, r)
	checkAll(t, s, n)
}

// Detaching and resuming, as around an exec in place, tears no line.
func TestDetachLosesNothing(t *testing.T) {
	n := scaled(t, 100_000)
	s := newSink()
	r := relay(t, s)
	exe, _ := os.Executable()
	_, wait := work(t, r, nil, []string{"FUGUE_TEST=" + strconv.Itoa(n)}, exe)
	for range 50 {
		k, err := r.Detach()
		if err != nil {
			t.Fatal(err)
		}
		for _, fd := range []int{k.Stdout, k.Stderr} {
			if fl, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); fd >= 0 && (err != nil || fl&unix.FD_CLOEXEC == 0) {
				t.Errorf("descriptor %d: %#x, %v", fd, fl, err)
			}
		}
		if r, err = Resume(s, "web/1", k); err != nil {
			t.Fatal(err)
		}
		select {
		case <-s.seen:
		case <-r.Done():
		}
	}
	wait()
	end(t, r)
	checkAll(t, s, n)
	if tail := r.Tail(); len(tail) != tailLines || tail[9] != fmt.Sprintf("line %d of %d", n-1, n) {
		t.Errorf("tail %q", tail)
	}
}

// The master's side goes away while the worker writes: it must not notice, and
// a successor finds what it wrote.
func TestMasterDiesAndIsSucceeded(t *testing.T) {
	s := newSink()
	r := relay(t, s)
	was, err := r.Pipes()
	if err != nil {
		t.Fatal(err)
	}
	in, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer w.Close()
	out, errs := r.Worker()
	cmd := []string{"/bin/sh", "-c", `echo first; read x; echo alone && echo and err >&2 && exec "$0"; exit 4`, "/bin/cat"}
	pid, err := syscall.ForkExec(cmd[0], cmd, &syscall.ProcAttr{Env: []string{"PATH=/bin"},
		Files: []uintptr{in.Fd(), uintptr(out), uintptr(errs)}})
	if err != nil {
		t.Fatal(err)
	}
	r.Started()
	s.await(t, "first")
	k, err := r.Detach()
	if err != nil {
		t.Fatal(err)
	}
	closeAll(k.Stdout, k.Stderr) // nobody reads any more
	if _, err := w.WriteString("go\n"); err != nil {
		t.Fatal(err)
	}
	// Once it is cat it has written.
	if _, err := w.WriteString("and on\n"); err != nil {
		t.Fatal(err)
	}

	s = newSink()
	if r, err = Reopen(s, "web/1", pid, was); err != nil {
		t.Fatal(err)
	}
	s.await(t, "web/1 | alone\n")
	s.await(t, "web/1 | and err\n")
	s.await(t, "web/1 | and on\n")
	if _, err := Reopen(s, "web/1", pid, Pipes{was.Stdout, was.Stderr + 1}); !errors.Is(err, errOtherPipe) {
		t.Errorf("another pipe: %v", err)
	}
	_ = w.Close()
	var ws syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &ws, 0, nil); err != nil || !ws.Exited() || ws.ExitStatus() != 0 {
		t.Errorf("status %#x, %v", ws, err)
	}
	end(t, r)
	if _, err := Reopen(s, "web/1", pid, was); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a worker that is gone: %v", err)
	}
}

// A write after the last reader's end is what kills other programs: it must
// not fail for the worker.
func TestNoEPIPE(t *testing.T) {
	r := relay(t, newSink())
	out, _ := r.Worker()
	own, err := unix.FcntlInt(uintptr(out), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(own)
	r.Started()
	k, err := r.Detach()
	if err != nil {
		t.Fatal(err)
	}
	closeAll(k.Stdout, k.Stderr)
	if _, err := unix.Write(own, []byte("alone")); err != nil {
		t.Error(err)
	}
}

// Programs that have given up root open /dev/stderr for their log.
func TestWorkerOpensItsOwnOutput(t *testing.T) {
	s := newSink()
	r := relay(t, s)
	if err := r.Chown(65534, 65534); err != nil {
		t.Fatal(err)
	}
	_, wait := work(t, r, &syscall.Credential{Uid: 65534, Gid: 65534}, nil, "/bin/sh", "-c", `echo opened > /dev/stderr`)
	wait()
	end(t, r)
	if got := s.String(); got != "web/1 | opened\n" {
		t.Errorf("%q", got)
	}
}

// What a worker leaves behind may write on; Done waits, Tail does not.
func TestDoneIsTheEndOfAllWriters(t *testing.T) {
	s := newSink()
	r := relay(t, s)
	_, wait := sh(t, r, `sleep 1000 & echo pid $!; echo bye >&2`)
	wait()
	s.await(t, "web/1 | pid ")
	s.await(t, "bye")
	var pid int
	for line := range strings.Lines(s.String()) {
		_, _ = fmt.Sscanf(line, "web/1 | pid %d\n", &pid)
	}
	select {
	case <-r.Done():
		t.Error("done while a process has the output open")
	default:
	}
	if d := cmp.Diff([]string{"bye"}, r.Tail()); d != "" {
		t.Error(d)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	end(t, r)
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, unix.ENOSPC }

// A full disk stops no worker.
func TestWriterFails(t *testing.T) {
	r, err := New(full{}, "web/1")
	if err != nil {
		t.Fatal(err)
	}
	_, wait := sh(t, r, `head -c 1000000 /dev/zero; echo; echo last`)
	if ws := wait(); ws.ExitStatus() != 0 {
		t.Errorf("status %#x", ws)
	}
	end(t, r)
	if tail := r.Tail(); len(tail) == 0 || tail[len(tail)-1] != "last" {
		t.Errorf("tail %q", tail)
	}
}

func TestRelaysLeaveNoDescriptors(t *testing.T) {
	count := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	one := func() {
		r := relay(t, newSink())
		r.Started()
		end(t, r)
	}
	one()
	before := count()
	for range scaled(t, 500) {
		one()
	}
	if after := count(); after > before {
		t.Errorf("%d descriptors, then %d", before, after)
	}
}
