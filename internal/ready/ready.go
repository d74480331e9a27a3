// Package ready sees that a worker has begun to wait on the sockets it was
// given, without the worker's help: in an epoll, a poll or a blocking accept of
// the worker or of any process below it. It only reads /proc, never touches a
// worker or a socket, and never takes for ready what merely holds the socket.
// What it cannot see into (another user's process, io_uring) it says; such a
// worker must send READY=1.
package ready

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Seen is the outcome of one look.
type Seen struct {
	// Waiting is true if the worker, or a process below it, waits on one of
	// the sockets. A socket registered in an epoll counts while its event
	// loop is busy: what connects is served when it returns.
	Waiting bool
	// Denied is true if this process may not look into the worker, so that
	// Waiting means nothing. It takes root, CAP_SYS_PTRACE or the worker's
	// uid.
	Denied bool
	// Note says in words for the worker's owner why it is not Waiting, as
	// the rest of a sentence about it: "holds the socket but does not wait
	// on it". Empty if Waiting.
	Note string
}

// Look looks once. sockets are the inodes of the pool's sockets (st_ino of
// fstat). It takes from 20 µs for a worker that waits to some milliseconds for
// one that does not and has very many descriptors, which is nothing for a loop
// to wait for. The error wraps os.ErrProcessDone if there is no such process.
func Look(pid int, sockets map[uint64]bool) (Seen, error) {
	l, err := newLooker(pid, sockets)
	if err != nil {
		return Seen{}, err
	}
	defer l.close()
	f, err := l.look()
	if err != nil || f.waiting {
		return Seen{Waiting: f.waiting}, err
	}
	return l.explain(f), nil
}

// maxProcesses bounds a look at a worker with very many children. The socket
// is waited on by the first ones, as in a pre-forking server, or by none.
const maxProcesses = 256

// looker looks at one worker again and again. It holds on to the worker's
// /proc directory, so that it never sees another process that got the same PID.
type looker struct {
	root     process
	sockets  map[uint64]bool
	sockfs   uint64 // the kernel's device number of all sockets' inodes
	children bool   // /proc/PID/task/TID/children exists on this kernel
}

func newLooker(pid int, sockets map[uint64]bool) (*looker, error) {
	device, err := sockfs()
	if err != nil {
		return nil, err
	}
	root, err := openProcess(pid)
	if err != nil {
		return nil, err
	}
	l := &looker{root: root, sockets: sockets, sockfs: device}
	l.children = unix.Access("/proc/thread-self/children", unix.F_OK) == nil
	return l, nil
}

func (l *looker) close() { l.root.close() }

// findings are what a look met on its way.
type findings struct {
	waiting   bool
	held      bool  // a process has one of the sockets open
	uring     bool  // a process has an io_uring
	denied    error // why a process could not be looked into
	deniedPID int
	others    []uint64 // inodes of other sockets
}

// look visits the worker, then those below it, level by level, until one waits.
func (l *looker) look() (findings, error) {
	var f findings
	if err := l.visit(l.root, &f); err != nil {
		return f, err
	}
	if f.waiting {
		return f, nil
	}
	below := l.below(l.root)
	for n := 1; len(below) > 0 && n < maxProcesses; n++ {
		p, err := openProcess(below[0])
		below = below[1:]
		if err != nil {
			continue // it has just exited
		}
		if err := l.visit(p, &f); err == nil && !f.waiting {
			below = append(below, l.below(p)...)
		}
		p.close()
		if f.waiting {
			return f, nil
		}
	}
	return f, nil
}

// visit adds what is seen of p to f. The only error is that p is gone.
func (l *looker) visit(p process, f *findings) error {
	v := visit{process: p, looker: l, findings: f}
	for _, look := range []func() error{v.threads, v.descriptors} {
		err := look()
		switch {
		case errors.Is(err, os.ErrProcessDone):
			return err
		case err != nil && f.denied == nil:
			f.denied, f.deniedPID = err, p.pid
		}
		if f.waiting {
			return nil
		}
	}
	return nil
}

// sockfs returns the device that the inodes of sockets are on, as the kernel
// writes it in fdinfo. Inode numbers alone are not unique: a timer or a pipe
// in the same epoll may bear that of our socket.
func sockfs() (uint64, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("make a socket to learn the sockets' device: %w", err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, fmt.Errorf("learn the sockets' device: %w", err)
	}
	dev := uint64(st.Dev) //nolint:unconvert // its width differs by architecture
	return uint64(unix.Major(dev))<<20 | uint64(unix.Minor(dev)), nil
}
