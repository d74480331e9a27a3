package cli_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// dieEmptyHanded kills the master at an instant at which it holds nothing that it
// has taken from a worker and not written yet. That would be lost, see
// docs/LOGS.md; it holds something for a thousandth of the time, and for longer on
// a busy machine. The workers are such that count their lines, files are what
// these were relayed to.
func (p *pool) dieEmptyHanded(workers []int, files ...string) {
	p.t.Helper()
	holds := func(pid int) bool { return p.nextInPipe(pid) != p.lastWritten(pid, files)+1 }
	for late := time.Now().Add(guard); ; {
		p.stop(p.run.Process.Pid)
		if !slices.ContainsFunc(workers, holds) {
			break
		}
		if time.Now().After(late) {
			p.t.Fatal("the master always has lines in its hands")
		}
		if err := p.run.Process.Signal(syscall.SIGCONT); err != nil {
			p.t.Fatal(err)
		}
	}
	p.die()
}

// lastWritten is the number of a worker's last line in the files.
func (p *pool) lastWritten(pid int, files []string) (n int) {
	p.t.Helper()
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			p.t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			var who, now int
			if _, tick, ok := strings.Cut(line, " | "); ok {
				if _, err := fmt.Sscanf(tick, "tick %d %d\n", &who, &now); err == nil && who == pid {
					n = max(n, now)
				}
			}
		}
	}
	return n
}

// nextInPipe is the number of the first line that waits in the pipe of a worker's
// standard output, where it stays; 0 if that is the rest of a line.
func (p *pool) nextInPipe(pid int) int {
	p.t.Helper()
	fd, err := unix.Open(fmt.Sprintf("/proc/%d/fd/1", pid), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		p.t.Fatal(err)
	}
	defer unix.Close(fd)
	var copied [2]int
	if err := unix.Pipe2(copied[:], unix.O_CLOEXEC); err != nil {
		p.t.Fatal(err)
	}
	defer unix.Close(copied[0])
	defer unix.Close(copied[1])
	for { // it writes on
		_, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(guard.Milliseconds()))
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if _, err := unix.Tee(fd, copied[1], 4096, unix.SPLICE_F_NONBLOCK); err != nil {
		p.t.Fatalf("look into the pipe of worker process %d: %v", pid, err)
	}
	text := make([]byte, 4096)
	n, err := unix.Read(copied[0], text)
	if err != nil {
		p.t.Fatal(err)
	}
	line, _, _ := bytes.Cut(text[:n], []byte("\n"))
	var who, number int
	if _, err := fmt.Sscanf(string(line), "tick %d %d", &who, &number); err != nil || who != pid {
		return 0
	}
	return number
}
