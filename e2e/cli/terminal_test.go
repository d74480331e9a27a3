package cli_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A HUP from a process reloads, one from a terminal that is gone stops the pool:
// who closed the window does not see what it would serve on. The request in
// flight is answered, and that nobody reads the last words changes nothing.
func TestTerminalGoes(t *testing.T) {
	p := newPool(t)
	master, terminal := openTerminal(t)
	p.run = p.fugue(p.words("-stderr", "a line of its own")...)
	p.run.Stdin = terminal
	p.run.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Pdeathsig: syscall.SIGTERM}
	p.beginOn(master, terminal)

	if err := p.run.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	p.await("generation 2 serves")

	flight := takeOff(t, p.dir+"/web.sock")
	if err := master.Close(); err != nil {
		t.Fatal(err)
	}
	p.awaitStopping()
	flight.land()
	if err := p.run.Wait(); err != nil {
		t.Errorf("fugue run: %v", err)
	}
}

// openTerminal makes a terminal: what a window holds, and what a program has.
func openTerminal(t *testing.T) (master, terminal *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	master = os.NewFile(uintptr(fd), "/dev/ptmx")
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { terminal.Close() })
	return master, terminal
}

// awaitStopping returns when the pool says that it is being stopped.
func (p *pool) awaitStopping() {
	p.t.Helper()
	for late := time.Now().Add(guard); time.Now().Before(late); {
		if p.status().State == "stopping" {
			return
		}
	}
	p.t.Fatal("the pool is not being stopped")
}

// flight is a request whose worker is at it and waits for the rest.
type flight struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

const cargo = "stdout=landed"

// takeOff sends a request up to its body, and returns when the worker asks for
// that.
func takeOff(t *testing.T, path string) *flight {
	t.Helper()
	conn, err := net.DialTimeout("unix", path, guard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(guard))
	_, err = fmt.Fprintf(conn, "POST /print HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\n"+
		"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n", len(cargo))
	if err != nil {
		t.Fatal(err)
	}
	f := &flight{t: t, conn: conn, in: bufio.NewReader(conn)}
	if line, err := f.in.ReadString('\n'); err != nil || !strings.Contains(line, " 100 ") {
		t.Fatalf("the worker does not ask for the body: %q, %v", line, err)
	}
	return f
}

// land sends the rest, and wants the answer.
func (f *flight) land() {
	f.t.Helper()
	if _, err := io.WriteString(f.conn, cargo); err != nil {
		f.t.Error(err)
	}
	if answer, err := io.ReadAll(f.in); err != nil || !strings.Contains(string(answer), " 200 OK\r\n") {
		f.t.Errorf("the request in flight: %q, %v", answer, err)
	}
}
