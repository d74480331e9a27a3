package cli_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"fugue/internal/testworker"
)

// A worker that is stopped sends no pings: it is ended, and only that one. A
// master that is stopped costs no worker.
func TestAStoppedWorkerStopsToPing(t *testing.T) {
	t.Parallel()
	const timeout = 4 * time.Second
	p := watchedPool(t, "--watchdog.timeout", timeout.String())
	before := p.status()
	if err := p.run.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	<-time.After(timeout + time.Second) // it is time itself that has to pass
	if err := p.run.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	<-time.After(timeout / 4)
	p.untouched(before)
	p.stopped(before.Workers[1].PID, "sent no WATCHDOG=1 in time")
}

// A worker that is stopped does not read: it is found by the connection that it
// has accepted, and only that one.
func TestAStoppedWorkerIsStuck(t *testing.T) {
	t.Parallel()
	p := watchedPool(t, "--watchdog.stuck", "3s")
	var conns []net.Conn
	pids := map[int]net.Conn{}
	for len(pids) < 2 { // until each worker has one
		c, err := net.Dial("unix", p.dir+"/web.sock")
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
		t.Cleanup(func() { c.Close() })
		pids[p.requested(c)] = c
	}
	pid := p.status().Workers[1].PID
	p.stop(pid)
	for _, c := range conns {
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	p.await("has left a connection unread for")
	p.ended(pid, "left an accepted connection unread for too long")
}

func watchedPool(t *testing.T, flags ...string) *pool {
	t.Helper()
	p := newPool(t)
	words := p.words()
	last := len(words) - 1
	p.begin(append(append(words[:last:last], flags...), "--watchdog.kill_after", "100ms", words[last])...)
	return p
}

// requested sends a request and says which worker has answered.
func (p *pool) requested(c net.Conn) int {
	p.t.Helper()
	_ = c.SetDeadline(time.Now().Add(guard))
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		p.t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		p.t.Fatal(err)
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		p.t.Fatal(err)
	}
	pid, err := strconv.Atoi(answer.Header.Get(testworker.HeaderPID))
	if err != nil {
		p.t.Fatal(err)
	}
	return pid
}

// stop returns when the worker has stopped. The signal wakes up one thread, and
// until that one runs the others go on: on a busy machine long enough to read and
// answer what comes next. Only the parent is told of it, so it is looked for.
func (p *pool) stop(pid int) {
	p.t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		p.t.Fatal(err)
	}
	for end := time.Now().Add(guard); !allStopped(p.t, pid); {
		if time.Now().After(end) {
			p.t.Fatalf("pid %d did not stop", pid)
		}
		runtime.Gosched()
	}
}

// allStopped tells whether each thread is in state T, see proc_pid_stat(5).
func allStopped(t *testing.T, pid int) bool {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads {
		text, err := os.ReadFile(thread)
		if err != nil {
			continue // it has ended
		}
		if _, rest, _ := strings.Cut(string(text), ") "); !strings.HasPrefix(rest, "T") {
			return false
		}
	}
	return len(threads) > 0
}

// stopped stops a worker and sees it ended.
func (p *pool) stopped(pid int, why string) {
	p.t.Helper()
	p.stop(pid)
	p.ended(pid, why)
}

// ended sees a worker ended, another in its place, and the rest untouched.
func (p *pool) ended(pid int, why string) {
	p.t.Helper()
	p.await(fmt.Sprintf("stopping worker 2 (pid %d) of generation 1: %s", pid, why))
	p.await(fmt.Sprintf("killing worker 2 (pid %d)", pid)) // it heard no signal
	for s := p.status(); len(s.Workers) != 2 || s.Ready != 2; s = p.status() {
	}
	after := p.status()
	for _, w := range after.Workers {
		if w.PID == pid || w.Slot == 1 && w.Restarts > 0 {
			p.t.Errorf("worker %d: pid %d, restarted %d times", w.Slot, w.PID, w.Restarts)
		}
	}
}
