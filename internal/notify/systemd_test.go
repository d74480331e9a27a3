package notify

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// guard bounds every wait: only a broken program meets it.
const guard = 20 * time.Second

// shortDir is a directory whose name leaves room in a socket address.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "f")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// manager plays systemd: it hears only when told to.
type manager struct {
	t    *testing.T
	conn *net.UnixConn
}

func newManager(t *testing.T, address string) *manager {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: address})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &manager{t, conn}
}

func (m *manager) read() (state string, fds []int) {
	m.t.Helper()
	m.conn.SetReadDeadline(time.Now().Add(guard))
	data, oob := make([]byte, 8192), make([]byte, 4096)
	n, oobn, _, _, err := m.conn.ReadMsgUnix(data, oob)
	if err != nil {
		m.t.Fatalf("systemd heard nothing: %v", err)
	}
	_, fds = ancillary(oob[:oobn])
	return string(data[:n]), fds
}

func (m *manager) expect(want string) {
	m.t.Helper()
	if got, _ := m.read(); got != want {
		m.t.Fatalf("systemd heard %q, want %q", got, want)
	}
}

func connect(t *testing.T, address string) *Systemd {
	t.Helper()
	s, err := FromEnv(func(string) string { return address })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func pair(t *testing.T) (*Systemd, *manager) {
	t.Helper()
	path := filepath.Join(shortDir(t), "n")
	m := newManager(t, path)
	return connect(t, path), m
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func openFDs(t *testing.T) int {
	t.Helper()
	e, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(e)
}

func inode(t *testing.T, fd int) uint64 {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Fstat(fd, &st))
	return st.Ino
}

func TestFromEnvTakesPathsAndAbstractNames(t *testing.T) {
	for _, address := range []string{filepath.Join(shortDir(t), "n"), fmt.Sprintf("@fugue-test-%d", os.Getpid())} {
		m := newManager(t, address)
		s := connect(t, address)
		must(t, s.Send(Ready))
		m.expect("READY=1")
	}
	for _, address := range []string{"run/notify", "@", "/", "vsock:2:1", "/" + strings.Repeat("x", 107), "@" + strings.Repeat("x", 108)} {
		if s, err := FromEnv(func(string) string { return address }); err == nil {
			s.Close()
			t.Errorf("NOTIFY_SOCKET=%s was taken", address)
		}
	}
}

func TestNoManagerNoMessages(t *testing.T) {
	s, err := FromEnv(func(string) string { return "" })
	if s != nil || err != nil {
		t.Fatalf("got %v, %v", s, err)
	}
	must(t, s.Send(Ready, 0))
	must(t, s.Status("x"))
	must(t, s.StoreFD("x", 0, true))
	must(t, s.RemoveFD("x"))
	must(t, s.Barrier(t.Context()))
	if l := s.Lost(); l != (Loss{}) {
		t.Error(l)
	}
	s.Close()
}

// PID 1 reads nothing for seconds: no call may wait, and all that was said
// must arrive, in order, with its descriptors, though the caller has closed
// its own long since.
func TestADeafManagerMissesNothingAndStopsNobody(t *testing.T) {
	s, m := pair(t)
	var pipe [2]int
	must(t, unix.Pipe2(pipe[:], unix.O_CLOEXEC))
	want := inode(t, pipe[0])
	const n = 1000
	for i := range n {
		if i == n/2 {
			must(t, s.StoreFD("fugue.listen.http.1", pipe[0], false))
			unix.Close(pipe[0])
			unix.Close(pipe[1])
		}
		must(t, s.Send("N="+strconv.Itoa(i)))
	}
	for i := range n {
		if i == n/2 {
			state, fds := m.read()
			if state != "FDSTORE=1\nFDNAME=fugue.listen.http.1\nFDPOLL=0" || len(fds) != 1 || inode(t, fds[0]) != want {
				t.Fatalf("got %q with %d descriptors", state, len(fds))
			}
			unix.Close(fds[0])
		}
		m.expect("N=" + strconv.Itoa(i))
	}
}

func TestANewerStatusReplacesOneThatWaits(t *testing.T) {
	s, m := pair(t)
	must(t, s.Status("first"))
	for i := range 600 { // far more than the kernel's queue
		must(t, s.Send("N="+strconv.Itoa(i)))
		must(t, s.Status(strconv.Itoa(i)))
	}
	must(t, s.Send("END=1"))
	var order, statuses []string
	for {
		state, _ := m.read()
		if state == "END=1" {
			break
		}
		if text, ok := strings.CutPrefix(state, "STATUS="); ok {
			statuses = append(statuses, text)
		} else {
			order = append(order, state)
		}
	}
	if len(order) != 600 || !slices.IsSortedFunc(order, func(a, b string) int {
		x, _ := strconv.Atoi(a[2:])
		y, _ := strconv.Atoi(b[2:])
		return x - y
	}) {
		t.Errorf("the other messages lost number or order: %v", order)
	}
	if last := statuses[len(statuses)-1]; last != "599" {
		t.Errorf("the last status is %s", last)
	}
	// What the kernel had queued before its buffer was full is beyond reach.
	if len(statuses) > 590 {
		t.Errorf("%d statuses of 601 arrived", len(statuses))
	}
	if err := s.Status("x\nMAINPID=1"); err == nil {
		t.Error("a status of two lines was taken")
	}
}

func TestWhatSystemdWouldDropIsRefused(t *testing.T) {
	s, m := pair(t)
	before := openFDs(t)
	for name, err := range map[string]error{
		"too long":      s.Send("STATUS=" + strings.Repeat("x", maxState)),
		"empty":         s.Send(""),
		"too many":      s.Send(Ready, make([]int, maxFDs+1)...),
		"bad fd":        s.Send(Ready, 0, 1<<20),
		"name: colon":   s.StoreFD("a:b", 0, true),
		"name: newline": s.StoreFD("a\nMAINPID=1", 0, true),
		"name: empty":   s.RemoveFD(""),
		"name: long":    s.RemoveFD(strings.Repeat("x", 256)),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if now := openFDs(t); now != before {
		t.Errorf("%d descriptors open, %d before", now, before)
	}
	long := "STATUS=" + strings.Repeat("x", maxState-7)
	must(t, s.Send(long))
	m.expect(long)
	must(t, s.RemoveFD(strings.Repeat("x", 255)))
	m.expect("FDSTOREREMOVE=1\nFDNAME=" + strings.Repeat("x", 255))
	must(t, s.Send(Ready, make([]int, maxFDs)...))
	if _, fds := m.read(); len(fds) != maxFDs {
		t.Errorf("%d descriptors arrived, %d sent", len(fds), maxFDs)
	} else {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}
}

func TestBarrierWaitsForTheReaderAndForThoseBefore(t *testing.T) {
	s, m := pair(t)
	for i := range 600 {
		must(t, s.Send("N="+strconv.Itoa(i)))
	}
	passed := make(chan error, 1)
	go func() { passed <- s.Barrier(t.Context()) }()
	for i := range 600 {
		m.expect("N=" + strconv.Itoa(i))
	}
	state, fds := m.read()
	if state != "BARRIER=1" || len(fds) != 1 {
		t.Fatalf("got %q with %d descriptors", state, len(fds))
	}
	select {
	case err := <-passed:
		t.Fatalf("passed with the descriptor still open: %v", err)
	default:
	}
	unix.Close(fds[0])
	select {
	case err := <-passed:
		must(t, err)
	case <-time.After(guard):
		t.Fatal("the barrier did not pass")
	}
}

func TestBarrierEndsWithItsContext(t *testing.T) {
	s, m := pair(t)
	before := openFDs(t)
	for _, deaf := range []bool{false, true} { // not answered; not even taken
		if deaf {
			for range 600 {
				must(t, s.Send("N=1"))
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		if err := s.Barrier(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("deaf %v: got %v", deaf, err)
		}
		cancel()
	}
	s.Close()
	m.conn.Close()
	// Minus the two sockets.
	if now := openFDs(t); now > before {
		t.Errorf("%d descriptors open, %d before", now, before)
	}
}

func TestAManagerThatReturnsHearsWhatWasSaidMeanwhile(t *testing.T) {
	path := filepath.Join(shortDir(t), "n")
	m := newManager(t, path)
	s := connect(t, path)
	must(t, s.Send("N=1"))
	m.expect("N=1")
	m.conn.Close()
	must(t, s.Send("N=2")) // refused
	must(t, s.Send("N=3"))
	must(t, os.Remove(path)) // not found
	m = newManager(t, path)
	m.expect("N=2")
	m.expect("N=3")
	if l := s.Lost(); l != (Loss{}) {
		t.Error(l)
	}
}

// An outage of long ago does not count against the next one.
func TestEachOutageHasItsOwnTime(t *testing.T) {
	path := filepath.Join(shortDir(t), "n")
	m := newManager(t, path)
	w := wire{ctx: t.Context(), address: path, outage: time.Now().Add(-2 * retryFor)}
	defer w.hangUp()
	must(t, w.deliver(entry{state: "N=1"}))
	m.expect("N=1")
	m.conn.Close()
	delivered := make(chan error, 1)
	go func() { delivered <- w.deliver(entry{state: "N=2"}) }()
	must(t, os.Remove(path))
	m = newManager(t, path)
	m.expect("N=2")
	must(t, <-delivered)
}

func TestAMessageThatCannotBeSentIsCounted(t *testing.T) {
	dir := shortDir(t)
	must(t, os.WriteFile(dir+"/file", nil, 0o600))
	s := connect(t, dir+"/file/n") // ENOTDIR: no wait will help
	before := openFDs(t)
	must(t, s.Send(Ready, 0))
	if err := s.Barrier(t.Context()); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("the barrier passed a manager that is not there: %v", err)
	}
	if l := s.Lost(); l.Count != 2 || !errors.Is(l.Last, unix.ENOTDIR) {
		t.Errorf("got %+v", l)
	}
	if now := openFDs(t); now != before {
		t.Errorf("%d descriptors open, %d before", now, before)
	}
}

func TestCloseWaitsForNobody(t *testing.T) {
	path := filepath.Join(shortDir(t), "n")
	before := openFDs(t)
	nobody := connect(t, path) // retries
	must(t, nobody.Send(Ready, 0))
	m := newManager(t, path+"2")
	deaf := connect(t, path+"2") // blocks in the write
	for range 600 {
		must(t, deaf.Send(Ready, 0))
	}
	for _, s := range []*Systemd{nobody, deaf} {
		s.Close()
		s.Close()
		if err := s.Send(Ready, 0); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		if err := s.Barrier(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	}
	m.conn.Close()
	if now := openFDs(t); now != before {
		t.Errorf("%d descriptors open, %d before", now, before)
	}
}
