package ready

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

const (
	nobody = 65534
	python = "/usr/bin/python3"
	// guard bounds every wait: only a broken program meets it.
	guard = 20 * time.Second
)

func TestMain(m *testing.M) {
	switch os.Getenv("READY_TEST") {
	case "":
		goleak.VerifyTestMain(m)
	case "http":
		l, err := net.FileListener(os.NewFile(3, "listener"))
		if err == nil {
			err = http.Serve(l, http.NotFoundHandler())
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	case "look":
		lookAsAnother()
	}
}

// lookAsAnother is a fugue that runs as another user: for each PID on standard
// input it says what it saw, with the sockets of its arguments.
func lookAsAnother() {
	sockets := map[uint64]bool{}
	for _, arg := range os.Args[1:] {
		inode, _ := strconv.ParseUint(arg, 10, 64)
		sockets[inode] = true
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		pid, _ := strconv.Atoi(in.Text())
		s, err := Look(pid, sockets)
		fmt.Printf("%v %v %v %v\n", s.Waiting, s.Denied, s.Note, err)
	}
}

// socket is one of the pool's, held as the master holds it: a raw descriptor.
type socket struct {
	fd      int
	inode   uint64
	address string
}

func (s socket) set() map[uint64]bool { return map[uint64]bool{s.inode: true} }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newSocket makes a socket of 127.0.0.1; a stream one listens.
func newSocket(t testing.TB, kind int) socket {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	must(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	if kind == unix.SOCK_STREAM {
		must(t, unix.Listen(fd, 128))
	}
	sa, err := unix.Getsockname(fd)
	must(t, err)
	var st unix.Stat_t
	must(t, unix.Fstat(fd, &st))
	return socket{fd, st.Ino, "127.0.0.1:" + strconv.Itoa(sa.(*unix.SockaddrInet4).Port)}
}

// socketFile is a copy to start a process with. The tests' sockets block, as
// os/exec makes them.
func socketFile(t testing.TB, s socket) *os.File {
	t.Helper()
	dup, err := unix.FcntlInt(uintptr(s.fd), unix.F_DUPFD_CLOEXEC, 0)
	must(t, err)
	file := os.NewFile(uintptr(dup), "socket")
	t.Cleanup(func() { file.Close() })
	return file
}

// worker is a process with the socket as its descriptor 3.
type worker struct {
	*exec.Cmd
	t      *testing.T
	in     io.WriteCloser
	out    *bufio.Reader
	stderr *strings.Builder
}

func (w worker) pid() int { return w.Process.Pid }

// spawn starts it as uid, in a process group of its own. Its standard input
// stays open to the end of the test.
func spawn(t *testing.T, s socket, uid int, env string, name string, args ...string) worker {
	t.Helper()
	file := socketFile(t, s)
	w := worker{Cmd: exec.Command(name, args...), t: t, stderr: new(strings.Builder)}
	w.Env = append(os.Environ(), env)
	w.ExtraFiles = []*os.File{file}
	w.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if uid != 0 {
		w.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}
	}
	w.Stderr = w.stderr
	w.WaitDelay = guard // for a descendant that escaped and holds stderr
	var err error
	w.in, err = w.StdinPipe()
	must(t, err)
	out, err := w.StdoutPipe()
	must(t, err)
	w.out = bufio.NewReader(out)
	must(t, w.Start())
	t.Cleanup(func() {
		killTree(w.pid())
		w.Wait()
		if t.Failed() && w.stderr.Len() > 0 {
			t.Logf("%s: %s", name, w.stderr)
		}
	})
	return w
}

// killTree kills what is below pid, also what left its group, then pid.
func killTree(pid int) {
	if p, err := openProcess(pid); err == nil {
		for _, child := range (&looker{children: true}).below(p) {
			killTree(child)
		}
		p.close()
	}
	syscall.Kill(pid, syscall.SIGKILL)
}

// line waits for the worker to say that it is where the test wants it.
func (w worker) line() string {
	w.t.Helper()
	line, err := w.out.ReadString('\n')
	if err != nil {
		w.t.Fatalf("the worker said %q, then %v", line, err)
	}
	return strings.TrimSuffix(line, "\n")
}

// await watches until the worker waits.
func await(t *testing.T, pid int, sockets map[uint64]bool) {
	t.Helper()
	found := make(chan struct{})
	notes := make(chan string, 100)
	Watch(t.Context(), pid, sockets, func() { close(found) }, func(n string) { notes <- n })
	select {
	case <-found:
	case <-time.After(guard):
		s, err := Look(pid, sockets)
		t.Fatalf("never seen waiting; now %+v, %v; %d notes", s, err, len(notes))
	}
}

// pythonHead makes the inherited socket s, and has hold() say that it holds and
// wait for a line.
const pythonHead = `
import asyncio, os, select, selectors, signal, socket, sys, threading, time
s = socket.socket(fileno=3)
def hold():
    print("here", flush=True)
    sys.stdin.readline()
def polling(f, *args):
    """calls f in a thread, and says so when that sits in poll or select"""
    t = threading.Thread(target=f, args=args)
    t.start()
    while open("/proc/self/task/%d/syscall" % t.native_id).read().split()[0] not in ("7", "23", "270", "271", "72", "73"): pass
    print("here", flush=True)
`

func py(t *testing.T, s socket, script string) worker {
	t.Helper()
	return spawn(t, s, 0, "X=", python, "-S", "-c", pythonHead+script)
}

const asyncioServer = `
async def main():
    async def serve(reader, writer): pass
    server = await asyncio.start_server(serve, sock=s)
    await server.serve_forever()
asyncio.run(main())
`

var waiters = map[string]struct {
	kind   int
	script string
}{
	"asyncio":          {unix.SOCK_STREAM, asyncioServer},
	"accept":           {unix.SOCK_STREAM, `s.accept()`},
	"accept in thread": {unix.SOCK_STREAM, "threading.Thread(target=s.accept).start(); sys.stdin.read()"},
	"select":           {unix.SOCK_STREAM, `select.select([0, s], [], [])`},
	"select, timeout":  {unix.SOCK_STREAM, "while True: select.select([s], [], [], 1)"},
	"select, high fd":  {unix.SOCK_STREAM, "os.dup2(3, 700); os.close(3); select.select([0, 700], [], [])"},
	"poll":             {unix.SOCK_STREAM, "p = select.poll(); p.register(0, 1); p.register(s, 1); p.poll()"},
	"poll, timeout":    {unix.SOCK_STREAM, "p = selectors.PollSelector(); p.register(s, 1)\nwhile True: p.select(1)"},
	"epoll":            {unix.SOCK_STREAM, "p = select.epoll(); p.register(0, 1); p.register(s, 1); p.poll()"},
	"epoll, edge":      {unix.SOCK_STREAM, "p = select.epoll(); p.register(s, 1 | select.EPOLLET | select.EPOLLEXCLUSIVE); p.poll()"},
	"epoll, nested":    {unix.SOCK_STREAM, "p = select.epoll(); p.register(s, 1); q = select.epoll(); q.register(p, 1); q.poll()"},
	"epoll, busy":      {unix.SOCK_STREAM, "p = select.epoll(); p.register(s, 1); sys.stdin.read()"},
	"epoll, dup":       {unix.SOCK_STREAM, "p = select.epoll(); p.register(s, 1); d = os.dup(3); s.close(); os.open('/dev/null', 0); p.poll()"},
	"child":            {unix.SOCK_STREAM, "if os.fork() == 0: s.accept()\nos.wait()"},
	"child of thread":  {unix.SOCK_STREAM, "def f():\n  if os.fork() == 0: s.accept()\n  os.wait()\nthreading.Thread(target=f).start(); sys.stdin.read()"},
	"grandchildren":    {unix.SOCK_STREAM, "if os.fork() == 0:\n  if os.fork() == 0: s.accept()\n  os.setsid(); os.close(3); os.wait()\nos.close(3); os.wait()"},
	"recvfrom":         {unix.SOCK_DGRAM, `s.recvfrom(10)`},
	"recvmsg":          {unix.SOCK_DGRAM, `s.recvmsg(10)`},
	"read":             {unix.SOCK_DGRAM, `os.read(3, 10)`},
	"readv":            {unix.SOCK_DGRAM, `os.readv(3, [bytearray(10)])`},
	"datagrams, poll":  {unix.SOCK_DGRAM, "p = select.poll(); p.register(s, 1); p.poll()"},
}

func TestAWorkerThatWaitsIsSeen(t *testing.T) {
	for name, c := range waiters {
		t.Run(name, func(t *testing.T) {
			s := newSocket(t, c.kind)
			w := py(t, s, c.script)
			await(t, w.pid(), s.set())
			if seen, err := lookUntilWaiting(w.pid(), s.set()); !seen.Waiting || seen.Note != "" || seen.Denied || err != nil {
				t.Errorf("once more: %+v, %v", seen, err)
			}
			// Not for any socket, and not for one of another pool.
			other := newSocket(t, unix.SOCK_STREAM)
			if seen, err := Look(w.pid(), other.set()); seen.Waiting || err != nil {
				t.Errorf("another socket: %+v, %v", seen, err)
			}
			both := other.set()
			maps.Copy(both, s.set())
			if seen, _ := lookUntilWaiting(w.pid(), both); !seen.Waiting {
				t.Error("one of two sockets is not enough")
			}
		})
	}
}

// lookUntilWaiting is the look that sees the worker wait: one that waits for a
// second at a time does not between two seconds, as long as others have the CPU.
func lookUntilWaiting(pid int, sockets map[uint64]bool) (seen Seen, err error) {
	for end := time.Now().Add(guard); !seen.Waiting && err == nil && time.Now().Before(end); {
		seen, err = Look(pid, sockets)
	}
	return seen, err
}

func TestRealServers(t *testing.T) {
	const node = `require("http").createServer((q, r) => r.end()).listen({fd: 3})`
	for name, start := range map[string]func(*testing.T, socket) worker{
		"node": func(t *testing.T, s socket) worker { return spawn(t, s, 0, "X=", "node", "-e", node) },
		"node as nobody": func(t *testing.T, s socket) worker {
			return spawn(t, s, nobody, "HOME=/", "node", "-e", node)
		},
		"go": func(t *testing.T, s socket) worker { return spawn(t, s, 0, "READY_TEST=http", os.Args[0]) },
		"go below sh": func(t *testing.T, s socket) worker {
			return spawn(t, s, 0, "READY_TEST=http", "sh", "-c", `sh -c '"$0"; true' "$0"; true`, os.Args[0])
		},
		"python -m http.server": func(t *testing.T, s socket) worker {
			return py(t, s, "import http.server as h\nv = h.HTTPServer(('', 0), h.SimpleHTTPRequestHandler, False)\nv.socket = s\nv.serve_forever()")
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSocket(t, unix.SOCK_STREAM)
			w := start(t, s)
			await(t, w.pid(), s.set())
		})
	}
}

func TestAWorkerThatDoesNotWaitIsExplained(t *testing.T) {
	for name, c := range map[string]struct {
		script, want string
	}{
		"holds":             {"hold()", "holds the socket but does not wait on it"},
		"holds in a child":  {"if os.fork() == 0: hold()\nos.close(3); os.wait()", "holds the socket but does not wait on it"},
		"closed":            {"s.close(); hold()", "has closed the socket"},
		"poll for write":    {"p = select.poll(); p.register(s, 4); polling(p.poll)", "holds the socket but does not wait on it"},
		"epoll, not for it": {"p = select.epoll(); p.register(s, 4); hold()", "holds the socket but does not wait on it"},
		"epoll, fired": {"p = select.epoll(); p.register(s, 1 | select.EPOLLONESHOT)\nc = socket.create_connection(s.getsockname()); p.poll(); hold()",
			"holds the socket but does not wait on it"},
		// An epoll keeps what was closed without being removed, since we
		// have the same socket open. Nobody accepts from it any more.
		"epoll, closed":    {"p = select.epoll(); p.register(s, 1); s.close(); hold()", "has closed the socket"},
		"select for write": {"polling(select.select, [0], [s], [])", "holds the socket but does not wait on it"},
		"select, others":   {"polling(select.select, [0], [], [])", "holds the socket but does not wait on it"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSocket(t, unix.SOCK_STREAM)
			w := py(t, s, c.script)
			w.line()
			if seen, err := Look(w.pid(), s.set()); seen != (Seen{Note: c.want}) || err != nil {
				t.Errorf("got %+v, %v", seen, err)
			}
		})
	}
}

func TestAWorkerThatListensElsewhereIsToldWhere(t *testing.T) {
	dir, err := os.MkdirTemp("", "f")
	must(t, err)
	defer os.RemoveAll(dir)
	for name, c := range map[string]struct{ script, format string }{
		"tcp":   {"o = socket.create_server(('127.0.0.1', 0)); print(o.getsockname()[1], flush=True); o.accept()", "127.0.0.1:%s"},
		"tcp6":  {"o = socket.create_server(('::1', 0), family=socket.AF_INET6); print(o.getsockname()[1], flush=True); o.accept()", "[::1]:%s"},
		"unix":  {"o = socket.socket(socket.AF_UNIX); o.bind('" + dir + "/x y'); o.listen(); print('" + dir + "/x y', flush=True); o.accept()", "%s"},
		"child": {"if os.fork() == 0:\n  o = socket.create_server(('127.0.0.1', 0)); print(o.getsockname()[1], flush=True); o.accept()\nos.wait()", "127.0.0.1:%s"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSocket(t, unix.SOCK_STREAM)
			w := py(t, s, c.script)
			want := "listens on " + fmt.Sprintf(c.format, w.line()) + " itself and not on fugue's socket"
			if seen, err := Look(w.pid(), s.set()); seen != (Seen{Note: want}) || err != nil {
				t.Errorf("got %+v, %v; want %q", seen, err, want)
			}
		})
	}
}

func TestAWorkerThatIsGone(t *testing.T) {
	s := newSocket(t, unix.SOCK_STREAM)
	w := py(t, s, "")
	var info unix.Siginfo
	must(t, unix.Waitid(unix.P_PID, w.pid(), &info, unix.WEXITED|unix.WNOWAIT, nil))
	if seen, err := Look(w.pid(), s.set()); seen != (Seen{Note: "has exited"}) || err != nil {
		t.Errorf("zombie: got %+v, %v", seen, err)
	}
	must(t, w.Wait())
	if seen, err := Look(w.pid(), s.set()); seen != (Seen{}) || !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("gone: got %+v, %v", seen, err)
	}
}

// The look depends on who looks: root may look into all, another user into
// what is its own and did not change its identity.
func TestAnotherUserLooks(t *testing.T) {
	s := newSocket(t, unix.SOCK_STREAM)
	const accept = pythonHead + "print('here', flush=True); s.accept()"
	exe, err := os.Executable()
	must(t, err)
	// The test binary may be where nobody cannot reach it.
	dir, err := os.MkdirTemp("", "f")
	must(t, err)
	defer os.RemoveAll(dir)
	must(t, os.Chmod(dir, 0o755))
	data, err := os.ReadFile(exe)
	must(t, err)
	must(t, os.WriteFile(dir+"/ready.test", data, 0o755))
	eye := spawn(t, s, nobody, "READY_TEST=look", dir+"/ready.test", strconv.FormatUint(s.inode, 10))
	for name, c := range map[string]struct {
		worker worker
		want   string
	}{
		"its own":             {spawn(t, s, nobody, "X=", python, "-S", "-c", accept), "true false  <nil>"},
		"another's":           {spawn(t, s, 1, "X=", python, "-S", "-c", accept), "false true may not be looked into"},
		"root's":              {spawn(t, s, 0, "X=", python, "-S", "-c", accept), "false true may not be looked into"},
		"root's become its":   {spawn(t, s, 0, "X=", python, "-S", "-c", pythonHead+"os.setgid(65534); os.setuid(65534); print('here', flush=True); s.accept()"), "false true may not be looked into"},
		"its own, below root": {spawn(t, s, 0, "X=", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", python, "-S", "-c", accept), "true false  <nil>"},
	} {
		t.Run(name, func(t *testing.T) {
			c.worker.line()
			await(t, c.worker.pid(), s.set()) // as root
			fmt.Fprintln(eye.in, c.worker.pid())
			if got := eye.line(); !strings.HasPrefix(got, c.want) {
				t.Errorf("nobody saw %q, want %q", got, c.want)
			}
		})
	}
}

// A worker with thousands of descriptors is seen by the call it waits in; they
// are not all read, neither for that nor to find that it does not wait.
func TestManyDescriptorsAreNotRead(t *testing.T) {
	s := newSocket(t, unix.SOCK_STREAM)
	w := py(t, s, `
import resource
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
kept = [os.open("/dev/null", 0) for i in range(2000)]
p = select.epoll(); p.register(s, 1)
hold(); p.poll()`)
	w.line()
	if seen, err := Look(w.pid(), s.set()); seen.Waiting || err != nil {
		t.Errorf("all descriptors were read: %+v, %v", seen, err)
	}
	fmt.Fprintln(w.in)
	await(t, w.pid(), s.set())
}

// Another file in the epoll may have our socket's inode number, on its own
// device.
func TestOnlyTheInodesOfSocketsCount(t *testing.T) {
	s := newSocket(t, unix.SOCK_STREAM)
	w := py(t, s, "p = select.epoll(); p.register(s, 1); p.poll()")
	await(t, w.pid(), s.set())
	l, err := newLooker(w.pid(), s.set())
	must(t, err)
	defer l.close()
	l.sockfs++
	if f, err := l.look(); f.waiting || err != nil {
		t.Errorf("got %+v, %v", f, err)
	}
}

func TestChildrenWithoutTheKernelsList(t *testing.T) {
	s := newSocket(t, unix.SOCK_STREAM)
	w := py(t, s, "if os.fork() == 0:\n  if os.fork() == 0: s.accept()\n  os.wait()\nos.wait()")
	await(t, w.pid(), s.set())
	l, err := newLooker(w.pid(), s.set())
	must(t, err)
	defer l.close()
	if !l.children {
		t.Log("this kernel has no list")
	}
	l.children = false
	if f, err := l.look(); err != nil || !f.waiting {
		t.Errorf("got %+v, %v", f, err)
	}
}

func TestLooksLeaveNothingOpen(t *testing.T) {
	s := newSocket(t, unix.SOCK_STREAM)
	w := py(t, s, "if os.fork() == 0: hold()\nos.wait()")
	w.line()
	count := func() int {
		e, err := os.ReadDir("/proc/self/fd")
		must(t, err)
		return len(e)
	}
	before := count()
	for range 100 {
		if _, err := Look(w.pid(), s.set()); err != nil {
			t.Fatal(err)
		}
	}
	if now := count(); now > before {
		t.Errorf("%d descriptors open, %d before", now, before)
	}
}

func BenchmarkLook(b *testing.B) {
	for _, name := range []string{"accept", "poll", "asyncio", "epoll, busy", "grandchildren"} {
		b.Run(name, func(b *testing.B) {
			s := newSocket(b, waiters[name].kind)
			w := exec.Command(python, "-S", "-c", pythonHead+waiters[name].script)
			w.ExtraFiles = []*os.File{socketFile(b, s)}
			in, err := w.StdinPipe()
			if err != nil || w.Start() != nil {
				b.Fatal(err)
			}
			defer in.Close()
			defer w.Wait()
			defer killTree(w.Process.Pid)
			for seen := (Seen{}); !seen.Waiting; seen, err = Look(w.Process.Pid, s.set()) {
				if err != nil {
					b.Fatal(err)
				}
				runtime.Gosched()
			}
			for b.Loop() {
				if seen, _ := Look(w.Process.Pid, s.set()); !seen.Waiting {
					b.Fatal("not seen")
				}
			}
		})
	}
}
