package servers_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"fugue/internal/loadtest"
)

// bare runs a server with no fugue: on a socket that the test holds, each
// process replaced as fugue does it: its successor first, then a SIGTERM, then
// the next, without waiting for the end.
type bare struct {
	t       *testing.T
	dir     string
	fd      int
	command []string
	signal  syscall.Signal
	release release // for its files
	env     []string
	front   func(*testing.T, string) string
	Address string
}

func newBare(t *testing.T, s server) *bare {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if s.deferred {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, deferSeconds); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Listen(fd, unix.SOMAXCONN); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := "127.0.0.1:" + strconv.Itoa(name.(*unix.SockaddrInet4).Port)
	host, port, _ := strings.Cut(address, ":")
	b := &bare{
		t: t, dir: t.TempDir(), fd: fd, signal: s.signal, release: s.release(0), front: s.front, Address: address,
		env: []string{"ADDRESS=" + address, "HOST=" + host, "PORT=" + port, "SOCKET=3"},
	}
	if b.signal == 0 {
		b.signal = syscall.SIGTERM
	}
	if s.bareEnv == nil {
		b.env = append(b.env, "LISTEN_FDS=1")
	}
	fill := strings.NewReplacer("{fd}", "3", "{addr}", address, "{dir}", b.dir)
	for _, e := range s.bareEnv {
		b.env = append(b.env, fill.Replace(e))
	}
	for _, w := range slices.Concat(s.command[:1], s.bareArgs, s.command[1:]) {
		b.command = append(b.command, fill.Replace(w))
	}
	return b
}

// start starts one process of the server. A shell gives it LISTEN_PID.
func (b *bare) start(version string) *os.Process {
	b.t.Helper()
	apps, err := filepath.Abs("testdata")
	if err != nil {
		b.t.Fatal(err)
	}
	null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		b.t.Fatal(err)
	}
	defer unix.Close(null)
	b.release.version = version
	writeFiles(b.t, b.dir, b.release, b.Address)
	argv := []string{"sh", "-c", `LISTEN_PID=$$ exec "$@"`, "sh"}
	for _, w := range b.command {
		argv = append(argv, strings.ReplaceAll(w, "{version}", version))
	}
	// Not os/exec: it switches O_NONBLOCK on the socket that all share.
	pid, err := syscall.ForkExec("/bin/sh", argv, &syscall.ProcAttr{
		Dir:   apps,
		Env:   append(append(baseEnv(b.dir), "VERSION="+version, "SERVERS_TEST="+b.dir), b.env...),
		Files: []uintptr{uintptr(null), uintptr(null), uintptr(null), uintptr(b.fd)},
		Sys:   &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	process, err := os.FindProcess(pid)
	if err != nil {
		b.t.Fatal(err)
	}
	return process
}

// stop is the bare signal.
func (b *bare) stop(process *os.Process) {
	b.t.Helper()
	if err := process.Signal(b.signal); err != nil {
		b.t.Fatal(err)
	}
}

// awaitEnd waits for the end of one that was stopped, and kills one that takes
// longer than fugue would wait.
func (b *bare) awaitEnd(process *os.Process) {
	b.t.Helper()
	late := time.AfterFunc(stopTimeout, func() { _ = syscall.Kill(-process.Pid, syscall.SIGKILL) })
	defer late.Stop()
	if _, err := process.Wait(); err != nil {
		b.t.Fatal(err)
	}
}

// replace replaces every one of two processes so often, one after the other,
// under a load, and returns what became of the load.
func (b *bare) replace(times int, config loadtest.Config) *loadtest.Report {
	b.t.Helper()
	b.t.Cleanup(func() {
		for _, pid := range processes(b.t, b.dir) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	config.Address = b.Address
	if s := b.front; s != nil {
		config.Address = s(b.t, b.Address)
	}
	load := startLoad(b.t, config)
	var running [2]*os.Process
	var stopped []*os.Process
	for round := range times + 1 {
		for i, old := range running {
			version := "v" + strconv.Itoa(round) + "." + strconv.Itoa(i)
			running[i] = b.start(version)
			awaitVersion(b.t, load, version)
			if old != nil {
				// The load has a fixed rate, and an answer has just come: a stop now
				// would always meet the pause before the next connection, and lose a
				// third of what one at any other time does.
				<-time.After(rand.N(time.Second / time.Duration(config.Rate)))
				b.stop(old)
				stopped = append(stopped, old)
			}
		}
	}
	for _, old := range stopped {
		b.awaitEnd(old)
	}
	report := load.Stop()
	for _, last := range running {
		b.stop(last)
		b.awaitEnd(last)
	}
	return report
}
