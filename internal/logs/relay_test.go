package logs

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"fugue/internal/loadtest"
)

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
	n := loadtest.Scale(100_000)
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
	r, err := New(Writers{Stdout: full{}, Stderr: full{}}, "web/1")
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
	for range loadtest.Scale(500) {
		one()
	}
	if after := count(); after > before {
		t.Errorf("%d descriptors, then %d", before, after)
	}
}
