package storm_test

import (
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

	"golang.org/x/sys/unix"

	"fugue/e2e"
	"fugue/internal/loadtest"
)

// victim is a worker that the walk has killed or stopped, with the connections
// that it had: the other ends of them. What was asked on those, and on no
// others, may be lost.
type victim struct {
	process     e2e.Process
	connections []string
	from, until time.Time // until: ended, or let go on
	stopped     bool
}

type victims []*victim

// stop halts a worker and notes what it has accepted; a halted one accepts no more.
func (vs *victims) stop(t *testing.T, p e2e.Process) string {
	t.Helper()
	v := &victim{process: p, from: time.Now(), stopped: true}
	fd, err := unix.PidfdOpen(p.Outside, 0)
	if err != nil {
		return "it was gone"
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGSTOP, nil, 0); err != nil {
		return "it was gone"
	}
	if !awaitHalt(p.Outside, fd) {
		return "it went by itself"
	}
	v.connections = connections(t, p.Outside, fd)
	*vs = append(*vs, v)
	return fmt.Sprintf("with %d connections", len(v.connections))
}

func (vs *victims) kill(t *testing.T, p e2e.Process) string {
	t.Helper()
	how := vs.stop(t, p)
	if how := killed(p); how != "" {
		return how
	}
	for _, v := range *vs {
		if v.process == p && v.until.IsZero() {
			v.until, v.stopped = time.Now(), false
		}
	}
	return how
}

// goOn lets the halted ones run again, those that still are.
func (vs *victims) goOn() {
	for _, v := range *vs {
		if !v.stopped {
			continue
		}
		v.stopped = false
		if fd, err := unix.PidfdOpen(v.process.Outside, 0); err == nil {
			_ = unix.PidfdSendSignal(fd, unix.SIGCONT, nil, 0)
			unix.Close(fd)
		}
		v.until = time.Now()
	}
}

// of is the victim that a failed request was in.
func (vs victims) of(r loadtest.Result) (*victim, bool) {
	if r.Class != loadtest.EOF && r.Class != loadtest.Reset && r.Class != loadtest.TimedOut {
		return nil, false // it was in no worker at all
	}
	for _, v := range vs {
		if slices.Contains(v.connections, r.Local) && !r.Start.After(v.until) && r.Start.Add(r.Took).After(v.from) {
			return v, true
		}
	}
	return nil, false
}

// killed ends a process by SIGKILL and says what stood against it.
func killed(p e2e.Process) string {
	fd, err := unix.PidfdOpen(p.Outside, 0)
	if err != nil {
		return "it was gone"
	}
	defer unix.Close(fd)
	if unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) != nil {
		return "it was gone"
	}
	if !awaitExit(fd, 30*time.Second) {
		return "it does not end"
	}
	return ""
}

// awaitExit returns false when patience is over first.
func awaitExit(pidfd int, patience time.Duration) bool {
	for deadline := time.Now().Add(patience); ; {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, int(time.Until(deadline).Milliseconds()))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return n == 1 && err == nil
	}
}

// awaitHalt returns when every thread has halted, false if the process ended.
// Only a parent is told of a halt, so this one looks.
func awaitHalt(pid, pidfd int) bool {
	for !awaitExit(pidfd, time.Millisecond) {
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		halted := slices.ContainsFunc(threads, func(path string) bool { return true })
		for _, path := range threads {
			stat, err := os.ReadFile(path)
			_, after, _ := strings.Cut(string(stat), ") ")
			halted = halted && err == nil && strings.HasPrefix(after, "T")
		}
		if halted {
			return true
		}
	}
	return false
}

// connections are the other ends of a process's sockets, as the load calls them.
func connections(t *testing.T, pid, pidfd int) (list []string) {
	t.Helper()
	links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, link := range links {
		if target, err := os.Readlink(link); err != nil || !strings.HasPrefix(target, "socket:") {
			continue
		}
		n, err := strconv.Atoi(filepath.Base(link))
		if err != nil {
			t.Fatal(err)
		}
		fd, err := unix.PidfdGetfd(pidfd, n, 0)
		if err != nil {
			continue // killed meanwhile by the pool: then it has none
		}
		peer, err := unix.Getpeername(fd)
		unix.Close(fd)
		if err != nil {
			continue // it listens
		}
		switch peer := peer.(type) {
		case *unix.SockaddrInet4:
			list = append(list, net.JoinHostPort(net.IP(peer.Addr[:]).String(), strconv.Itoa(peer.Port)))
		case *unix.SockaddrUnix:
			list = append(list, peer.Name)
		}
	}
	return list
}
