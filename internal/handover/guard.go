package handover

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of what takes a millisecond: a guard that does not answer is killed,
// and then the kernel lets the master go.
const (
	answerTime  = 5 * time.Second
	releaseTime = 10 * time.Second
)

// guardLimit is how long a guard holds signals back before it gives them up by
// itself: an image that never says that it watches must still end on TERM.
const guardLimit = 60 * time.Second

// Guard is a process that traces this one (ptrace(2)) and keeps every HUP, INT,
// QUIT and TERM that is about to be delivered, until it is released. Nothing
// less will do over an exec: the Go runtime of the next image unblocks these
// signals before it has handlers for them, so they would be lost or deadly.
//
// ABRT is let through. It asks for nothing that a pool could do later: it
// ends a process that hangs (a watchdog's) or that is about to crash.
//
// While it lasts nothing else can trace this process, and each of its signals
// costs some 50 µs. It is not safe for concurrent use.
type Guard struct {
	pid, pidfd int // our child
	fd         int // conn's, by number, for the exec
	conn       *os.File
	answers    *bufio.Reader
}

// StartGuard starts a guard and returns once it holds signals back: what comes
// from now on waits for Release, here or in the next image, with all that the
// kernel said of it; what came before has been delivered, and is in the hands
// of package os/signal at the latest. It takes some milliseconds, beside the
// loop. Where tracing is not permitted the error says what forbids it: then a
// handover goes on without.
//
// Setting a signal to be ignored discards one that is on its way, even to a
// guard (sigaction(2)): do not call signal.Ignore until it is released.
func StartGuard(ctx context.Context) (*Guard, error) {
	g, err := startGuard(ctx, guardLimit)
	if err != nil {
		return nil, fmt.Errorf("guard signals: %w", err)
	}
	return g, nil
}

func startGuard(ctx context.Context, limit time.Duration) (*Guard, error) {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make a socket pair: %w", err)
	}
	theirs := os.NewFile(uintptr(ends[1]), "guard's end")
	defer theirs.Close()
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		_ = unix.Close(ends[0])
		return nil, fmt.Errorf("open /dev/null: %w", err)
	}
	defer unix.Close(null)
	g, err := newGuard(ends[0])
	if err != nil {
		_ = unix.Close(ends[0])
		return nil, err
	}
	files := []uintptr{uintptr(null), uintptr(null), uintptr(null), uintptr(ends[1])}
	part := fmt.Sprintf("guard:%d,%d", os.Getpid(), limit.Milliseconds())
	// What the environment says to the Go runtime is said to this one too.
	g.pid, g.pidfd, err = startPart(part, []string{"fugue: guard"}, os.Environ(), files)
	if err != nil {
		_ = g.conn.Close()
		return nil, err
	}
	// Under Yama a process may trace its descendants, and others only if these
	// allow it. Without Yama there is nothing to allow: EINVAL.
	_ = unix.Prctl(unix.PR_SET_PTRACER, uintptr(g.pid), 0, 0, 0)
	_ = theirs.Close() // or its death would not be seen
	if err := g.ask(ctx, "start", "ready"); err != nil {
		// It gives back what it has held so far, also if it is just too late.
		if lost := g.Release(); lost != nil {
			err = fmt.Errorf("%w; %w", err, lost)
		}
		return nil, err
	}
	return g, nil
}

func newGuard(fd int) (*Guard, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("talk to the guard: %w", err)
	}
	conn := os.NewFile(uintptr(fd), "guard")
	return &Guard{pidfd: -1, fd: fd, conn: conn, answers: bufio.NewReader(conn)}, nil
}

// resumeGuard takes up the guard of the image before this one. It is still our
// child, and nobody has reaped it, so that its number is no other's.
func resumeGuard(fd, pid int) (*Guard, error) {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("find the guard, process %d: %w", pid, err)
	}
	err = unix.Waitid(unix.P_PIDFD, pidfd, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	var g *Guard
	if err == nil { // else it is not ours, and not to be waited for, nor killed
		g, err = newGuard(fd)
	}
	if err != nil {
		_ = unix.Close(pidfd)
		return nil, fmt.Errorf("take up the guard, process %d: %w", pid, err)
	}
	g.pid, g.pidfd = pid, pidfd
	return g, nil
}

// PID is the guard's. It is a child of this process, but no worker, and in the
// same cgroup. 0 without a guard.
func (g *Guard) PID() int {
	if g == nil {
		return 0
	}
	return g.pid
}

// Release ends the guard: what it held back is delivered now, in the order in
// which it came, one of each kind, with its siginfo as it was. Call it when
// signals are watched (again), beside the loop: it takes some milliseconds.
// When it returns, with an error or not, the guard is gone and reaped, and this
// process is as if there had never been one. An error means that signals may
// have been lost. Releasing no guard (nil), or one twice, is nothing.
func (g *Guard) Release() error {
	if g == nil || g.conn == nil {
		return nil
	}
	_ = g.conn.SetWriteDeadline(time.Now().Add(answerTime))
	// Should it have ended by itself, its exit says whether all was well.
	_, _ = g.conn.WriteString("release\n")
	if err := g.end(); err != nil {
		return fmt.Errorf("release the guard of signals: %w", err)
	}
	return nil
}

// end waits for the guard's end, kills it if that does not come in time, and
// reaps it.
func (g *Guard) end() error {
	conn := g.conn
	g.conn = nil
	_ = unix.Prctl(unix.PR_SET_PTRACER, 0, 0, 0, 0)
	defer conn.Close()
	defer unix.Close(g.pidfd)
	var problem error
	if !exited(g.pidfd, releaseTime) {
		_ = unix.PidfdSendSignal(g.pidfd, unix.SIGKILL, nil, 0)
		problem = fmt.Errorf("it did not end within %s and was killed", releaseTime)
	}
	var status unix.WaitStatus
	if err := retry(func() error { _, err := unix.Wait4(g.pid, &status, 0, nil); return err }); err != nil {
		return errors.Join(problem, fmt.Errorf("wait for it: %w", err))
	}
	if problem == nil && (status.Signaled() || status.ExitStatus() != 0) {
		problem = errors.New("it ended: " + words(status))
	}
	return problem
}

// exited waits for the end of a process, or until there is no patience left.
func exited(pidfd int, patience time.Duration) bool {
	until := time.Now().Add(patience)
	for {
		fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(max(0, time.Until(until)).Milliseconds()))
		if !errors.Is(err, unix.EINTR) {
			return n > 0
		}
	}
}

// hold has the guard block its signals in every thread of this process, so that
// from here through the exec they stay in the kernel. The exec ends the other
// threads, and before Linux 5.17 a signal that one of them has just begun to
// deliver would end with it. The guard unblocks them in the new image's only
// thread before its first instruction, or by unhold.
func (g *Guard) hold() error { return g.ask(context.Background(), "hold", "held") }

func (g *Guard) unhold() { _ = g.ask(context.Background(), "unhold", "unheld") }

// ask sends a command and awaits the answer that it should have.
func (g *Guard) ask(ctx context.Context, command, want string) error {
	if g.conn == nil {
		return errors.New("the guard was released")
	}
	_ = g.conn.SetDeadline(time.Now().Add(answerTime))
	conn := g.conn
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	_, err := g.conn.WriteString(command + "\n")
	var line string
	if err == nil {
		line, err = g.answers.ReadString('\n')
	}
	switch line = strings.TrimSuffix(line, "\n"); {
	case !stop():
		return context.Cause(ctx)
	case err == nil && line == want:
		return nil
	case err == nil:
		return errors.New(line)
	case errors.Is(err, io.EOF) && exited(g.pidfd, time.Second):
		return errors.New("the guard died (of a seccomp filter that kills on ptrace(2), such as SystemCallFilter=~@debug?)")
	}
	return fmt.Errorf("talk to the guard: %w", err)
}
