package logs

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"fugue/internal/loadtest"
)

// Detaching and resuming, as around an exec in place, tears no line.
func TestDetachLosesNothing(t *testing.T) {
	n := loadtest.Scale(100_000)
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
		if r, err = Resume(Writers{Stdout: s, Stderr: s}, "web/1", k); err != nil {
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
	if r, err = Reopen(Writers{Stdout: s, Stderr: s}, "web/1", pid, was); err != nil {
		t.Fatal(err)
	}
	s.await(t, "web/1 | alone\n")
	s.await(t, "web/1 | and err\n")
	s.await(t, "web/1 | and on\n")
	if _, err := Reopen(Writers{Stdout: s, Stderr: s}, "web/1", pid, Pipes{was.Stdout, was.Stderr + 1}); !errors.Is(err, errOtherPipe) {
		t.Errorf("another pipe: %v", err)
	}
	_ = w.Close()
	var ws syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &ws, 0, nil); err != nil || !ws.Exited() || ws.ExitStatus() != 0 {
		t.Errorf("status %#x, %v", ws, err)
	}
	end(t, r)
	if _, err := Reopen(Writers{Stdout: s, Stderr: s}, "web/1", pid, was); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a worker that is gone: %v", err)
	}
}

// dying is a master that never returns from a write.
type dying struct{ writing, never chan struct{} }

func (d dying) Write(b []byte) (int, error) {
	select {
	case <-d.never:
	default:
		close(d.writing)
		<-d.never
	}
	return len(b), nil
}

// What a master was writing when it was killed is still there for its successor.
func TestKilledInAWrite(t *testing.T) {
	d := dying{make(chan struct{}), make(chan struct{})}
	r, err := New(Writers{Stdout: d, Stderr: newSink()}, "web/1")
	if err != nil {
		t.Fatal(err)
	}
	was, err := r.Pipes()
	if err != nil {
		t.Fatal(err)
	}
	pid, wait := sh(t, r, "echo one; echo two; kill -STOP $$; echo three")
	<-d.writing
	var ws syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &ws, syscall.WUNTRACED, nil); err != nil || !ws.Stopped() {
		t.Fatalf("status %#x, %v", ws, err)
	}
	s := newSink()
	next, err := Reopen(Writers{Stdout: s, Stderr: s}, "web/1", pid, was)
	if err != nil {
		t.Fatal(err)
	}
	s.await(t, "web/1 | two\n")
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	wait()
	end(t, next)
	if got := s.String(); got != "web/1 | one\nweb/1 | two\nweb/1 | three\n" {
		t.Errorf("%q", got)
	}
	close(d.never)
	end(t, r)
}

// A worker that reads its own output is odd, and its output goes on.
func TestAWorkerReadsItsOwnOutput(t *testing.T) {
	s := newSink()
	r := relay(t, s)
	_, wait := sh(t, r, `i=0; while [ $i -lt 200 ]; do echo lost; read x <&1; i=$((i+1)); done & j=0
		while [ $j -lt 200 ]; do echo lost; j=$((j+1)); done; kill $!; echo; echo the end`)
	wait()
	end(t, r)
	if !strings.HasSuffix(s.String(), "web/1 | the end\n") {
		t.Errorf("%q", s.String())
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
