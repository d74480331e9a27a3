package proc

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A Child is one process, started or adopted. Its methods are for one
// goroutine; the watch that ends in exited runs beside it.
type Child struct {
	pid    int
	start  uint64
	pidfd  *pidfd
	group  group
	exit   Exit
	reaped bool
	// launched is closed once the start report is in; nil if adopted.
	launched chan struct{}
	gate     *os.File // the report, which carries the word to proceed
	again    func()   // Spec.AskGroup: exited; else nil
}

// newChild takes over fd and the group, in failure too.
func newChild(pid int, start uint64, fd int, g group) (*Child, error) {
	p, err := newPidfd(fd)
	if err != nil {
		g.close()
		return nil, err
	}
	return &Child{pid: pid, start: start, pidfd: p, group: g}, nil
}

// PID is the process's number, which is its group's as well.
func (c *Child) PID() int { return c.pid }

// PIDFD is the process's pidfd, owned by the Child; -1 after Reap.
func (c *Child) PIDFD() int { return c.pidfd.fd }

// StartTime is field 22 of proc_pid_stat(5), in clock ticks since boot.
// With the PID it identifies a process until the next boot.
func (c *Child) StartTime() uint64 { return c.start }

// Proceed lets a child that is Held execute its command. It does nothing for
// one that was let go before, or was adopted.
func (c *Child) Proceed() {
	if c.gate != nil {
		_, _ = c.gate.Write([]byte{1}) // fails for one that has ended, which its exit says
		c.gate = nil
	}
}

// Signal sends sig to the process alone. That it is gone already is no error.
func (c *Child) Signal(sig unix.Signal) error {
	if c.reaped {
		return nil
	}
	if c.launched != nil && (sig == unix.SIGQUIT || sig == unix.SIGABRT) {
		select {
		case <-c.launched:
		default:
			go c.signalLater(sig)
			return nil
		}
	}
	if err := sendSignal(c.pidfd.fd, sig); err != nil {
		return fmt.Errorf("send %s to process %d: %w", signalName(sig), c.pid, err)
	}
	return nil
}

// signalLater keeps from the shim what its runtime would answer with a page of
// goroutines on the worker's standard error, and exit status 2.
func (c *Child) signalLater(sig unix.Signal) {
	<-c.launched
	_ = c.pidfd.conn.Control(func(fd uintptr) { _ = sendSignal(int(fd), sig) }) // unless reaped
}

// KillGroup kills the process with its whole group, and its cgroup if it was
// given one. An adopted process that leads no group dies alone.
func (c *Child) KillGroup() error {
	if c.reaped {
		return nil
	}
	c.group.killCgroup()
	// The number is the group's for certain while the process has not been
	// reaped. A stranger may have been, by its parent: then what is left of the
	// group is the watch's business.
	if c.group.id > 0 && (c.pidfd.ours() || !c.pidfd.ended()) {
		_ = unix.Kill(-c.group.id, unix.SIGKILL)
	}
	return c.Signal(unix.SIGKILL) // in case it has left its group
}

// watch waits for the end, clears up behind it and tells.
func (c *Child) watch(exited func()) {
	c.pidfd.wait(time.Time{}, unix.POLLIN)
	if c.again != nil && c.pidfd.ours() {
		c.group.kill()
		exited()
		return
	}
	c.group.sweep(c.pid, c.start, c.pidfd.ours(), time.Now().Add(sweepTime))
	if !c.pidfd.ours() {
		// The exit status of another's child can be read once its parent has
		// taken it; most do so at once.
		c.pidfd.wait(time.Now().Add(reapTime), unix.POLLHUP)
	}
	exited()
}

// reapTime bounds the wait for a stranger's parent.
const reapTime = 200 * time.Millisecond

// ErrLingers is the error of Reap for a child with Spec.AskGroup of whose group
// something is left. It has been killed, and exited is called again when it is
// gone.
var ErrLingers = errors.New("what it left in its process group is still there")

// Reap tells how the process ended and frees its number and the pidfd. It is
// to be called after exited and never waits; called again it answers the same.
func (c *Child) Reap() (Exit, error) {
	if c.reaped {
		return c.exit, nil
	}
	exit, err := c.pidfd.reap()
	if errors.Is(err, unix.ECHILD) {
		exit, err = c.pidfd.info()
	}
	if err != nil {
		return Exit{}, fmt.Errorf("reap process %d: %w", c.pid, err)
	}
	c.exit, c.reaped = exit, true
	c.pidfd.close()
	if again := c.again; again != nil && !c.group.gone() {
		go func() {
			c.group.sweep(c.pid, c.start, false, time.Now().Add(sweepTime))
			again()
		}()
		return exit, ErrLingers
	}
	c.group.close()
	return exit, nil
}

// StartTime is what a Child of that process would tell.
func StartTime(pid int) (uint64, error) {
	st, err := readStat(pid)
	if err == nil && !st.alive() {
		err = ErrGone
	}
	if err != nil {
		return 0, fmt.Errorf("look at process %d: %w", pid, err)
	}
	return st.start, nil
}

// ErrGone is the error of Adopt for a process that does not exist any more.
var ErrGone = os.ErrProcessDone

// Adopt watches a process that this image did not start: one of an earlier
// master's, or our own from before an exec in place. With a start time other
// than 0 it must be the process of that StartTime, and not another that has
// got its number since. exited is as in Start; a process that is a zombie
// already exits at once. cgroup is as Spec.CgroupFD, -1 where it has none, and
// may be closed afterwards.
func Adopt(pid int, start uint64, cgroup int, exited func()) (*Child, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) {
		return nil, fmt.Errorf("adopt process %d: %w", pid, ErrGone)
	}
	if err != nil {
		return nil, fmt.Errorf("adopt process %d: %w", pid, err)
	}
	// Read while the pidfd names an unreaped process: so it is this one's and
	// not a successor's.
	st, err := readStat(pid)
	if errors.Is(err, os.ErrNotExist) || errors.Is(sendSignal(fd, 0), unix.ESRCH) || err == nil && start != 0 && st.start != start {
		err = ErrGone
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("adopt process %d: %w", pid, err)
	}
	g, err := newGroup(cgroup)
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("adopt process %d: %w", pid, err)
	}
	if st.pgrp == pid {
		g.id = pid
	}
	c, err := newChild(pid, st.start, fd, g)
	if err != nil {
		return nil, fmt.Errorf("adopt process %d: %w", pid, err)
	}
	go c.watch(exited)
	return c, nil
}
