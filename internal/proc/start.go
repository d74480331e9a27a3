package proc

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"fugue/internal/launch"
)

// sweepTime bounds the wait for what a worker left behind: a process in an
// uninterruptible sleep must not hold up its slot.
const sweepTime = time.Second

// Start forks a child in a process group of its own. It returns once the child
// exists; launched is called when the user's command runs (nil) or could not
// (*LaunchError), and exited, always after launched, once the process has
// ended and the rest of its group is gone. Both are called once, from a
// goroutine of the child's own, and should return soon; with Spec.AskGroup
// exited may come twice.
//
// The child is born with every signal blocked, as far as Go's runtime keeps
// them so, and the shim meets the others with their default action: a signal
// sent at any time after Start acts on it and is not lost on the way.
//
// With Plan.Held the command waits for Proceed, and never runs if this process
// ends before that.
func Start(s Spec, launched func(error), exited func()) (*Child, error) {
	var own fds // what only the child needs
	defer own.close()
	for _, fd := range []*int{&s.Stdin, &s.Stdout, &s.Stderr} {
		if *fd < 0 {
			null, err := own.null()
			if err != nil {
				return nil, err
			}
			*fd = null
		}
	}
	pipe, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make the report socket: %w", err)
	}
	if err := unix.SetNonblock(pipe[0], true); err != nil { // ours alone: theirs is to wait
		return nil, fmt.Errorf("make the report socket: %w", err)
	}
	own = append(own, pipe[1])
	report := os.NewFile(uintptr(pipe[0]), "report")

	group, err := newGroup(s.CgroupFD)
	if err != nil {
		_ = report.Close()
		return nil, err
	}
	born, err := s.bear(&own, pipe[1])
	if err != nil {
		_ = report.Close()
		group.close()
		return nil, fmt.Errorf("start a process: %w", err)
	}
	pid, pidfd := born.pid, born.pidfd
	group.id = pid
	var c *Child
	st, err := readStat(pid)
	if err == nil {
		c, err = newChild(pid, st.start, pidfd, group)
	} else {
		_ = unix.Close(pidfd)
		group.close()
	}
	if err != nil {
		// Unwatched it must not run. It is ours, so it can be waited for.
		_ = unix.Kill(-pid, unix.SIGKILL)
		_, _ = unix.Wait4(pid, nil, 0, nil)
		_ = report.Close()
		return nil, err
	}
	c.launched = make(chan struct{})
	c.gate = report
	if s.AskGroup && s.CgroupFD < 0 {
		c.again = exited
	}
	go func() {
		err := readReport(report, born.steps)
		close(c.launched)
		launched(err)
		c.watch(exited)
	}()
	return c, nil
}

// readReport waits for the exec or for what prevented it.
func readReport(f *os.File, steps []string) error {
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		return fmt.Errorf("read the start report: %w", err)
	}
	switch r := launch.ParseReport(b, steps); {
	case r.Step != "":
		return &LaunchError{Step: r.Step, Errno: r.Errno}
	case !r.Reached:
		return &LaunchError{Step: "the process ended before it could execute the command"}
	}
	return nil
}

// fds are closed together.
type fds []int

func (f *fds) close() {
	for _, fd := range *f {
		_ = unix.Close(fd)
	}
}

func (f *fds) null() (int, error) {
	fd, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open /dev/null: %w", err)
	}
	*f = append(*f, fd)
	return fd, nil
}
