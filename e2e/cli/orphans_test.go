package cli_test

import (
	"net"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Where nobody starts another master the workers end with the one they have,
// whatever that dies of; and an exec in place is no death.
func TestWorkersEndWithTheirMaster(t *testing.T) {
	p := start(t)
	before := p.status()
	if code, _, errs := ask(t, p.fugue("upgrade", "web")); code != 0 {
		t.Fatalf("upgrade: exit %d\n%s", code, errs)
	}
	after := p.status()
	if after.PID != before.PID {
		t.Errorf("the master was %d and is %d", before.PID, after.PID)
	}
	var ends []int
	for i, w := range after.Workers {
		if w.PID != before.Workers[i].PID {
			t.Errorf("worker %d was %d and is %d", w.Slot, before.Workers[i].PID, w.PID)
		}
		ends = append(ends, openPID(t, w.PID))
	}
	if err := p.run.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.run.Wait()
	for _, fd := range ends {
		awaitEnd(t, fd)
	}
	if code, _, errs := ask(t, p.fugue("status", "web")); code != 3 || errs != "fugue: pool web is not running\n" {
		t.Errorf("status: exit %d\n%s", code, errs)
	}
}

// With orphans = "keep" they serve on.
func TestWorkersOutliveTheirMaster(t *testing.T) {
	p := newPool(t)
	p.begin(slices.Insert(p.words(), 1, "--orphans", "keep")...)
	workers := p.status().Workers
	for _, w := range workers {
		t.Cleanup(func() { _ = syscall.Kill(w.PID, syscall.SIGKILL) })
	}
	if err := p.run.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.run.Wait()
	c, err := net.DialTimeout("unix", p.dir+"/web.sock", guard)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(guard))
	if _, err := c.Write([]byte("GET / HTTP/1.0\r\n\r\n")); err != nil {
		t.Error(err)
	}
	if n, err := c.Read(make([]byte, 16)); n == 0 {
		t.Errorf("the workers do not answer: %v", err)
	}
	for _, w := range workers {
		if err := syscall.Kill(w.PID, 0); err != nil {
			t.Errorf("worker %d (pid %d): %v", w.Slot, w.PID, err)
		}
	}
}

func openPID(t *testing.T, pid int) int {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

func awaitEnd(t *testing.T, pidfd int) {
	t.Helper()
	for end := time.Now().Add(guard); ; {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, int(time.Until(end).Milliseconds()))
		switch {
		case n == 1:
			return
		case n == 0 || err != unix.EINTR:
			t.Fatalf("the process does not end: %v", err)
		}
	}
}
