package proc

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"syscall"
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
// goroutine of the child's own, and should return soon.
//
// The child is born with every signal blocked, as far as Go's runtime keeps
// them so, and the shim meets the others with their default action: a signal
// sent at any time after Start acts on it and is not lost on the way.
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
	plan, err := own.memfd(s.Plan.Encode())
	if err != nil {
		return nil, err
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, fmt.Errorf("make the report pipe: %w", err)
	}
	own = append(own, pipe[1])
	report := os.NewFile(uintptr(pipe[0]), "report")

	group := group{cgroup: -1}
	if s.CgroupFD >= 0 {
		if group.cgroup, err = unix.FcntlInt(uintptr(s.CgroupFD), unix.F_DUPFD_CLOEXEC, 0); err != nil {
			_ = report.Close()
			return nil, fmt.Errorf("keep the cgroup directory: %w", err)
		}
	}
	files := make([]uintptr, 0, 5+len(s.Files))
	for _, fd := range append([]int{s.Stdin, s.Stdout, s.Stderr}, s.Files...) {
		files = append(files, uintptr(fd))
	}
	at := len(files)
	files = append(files, uintptr(plan), uintptr(pipe[1]))
	pid, pidfd, err := fork("fugue: starting "+s.Name, launch.Environ(at, at+1), files, s.CgroupFD)
	if err != nil {
		_ = report.Close()
		group.close()
		return nil, fmt.Errorf("start a process: %w", err)
	}
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
	go func() {
		err := readReport(report)
		close(c.launched)
		launched(err)
		c.watch(exited)
	}()
	return c, nil
}

// fork starts the running image again, which package launch turns into the
// user's command. /proc/self/exe is that image even after a package upgrade
// has replaced its file.
func fork(name string, env []string, files []uintptr, cgroup int) (pid, pidfd int, err error) {
	// The mask of the forking thread is the child's.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	all, before := fullSet(), unix.Sigset_t{}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &before); err != nil {
		return 0, -1, err
	}
	defer func() { _ = unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil) }()

	attr := &syscall.ProcAttr{Env: env, Files: files, Sys: &syscall.SysProcAttr{Setpgid: true, PidFD: &pidfd}}
	if cgroup >= 0 {
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, cgroup
	}
	pid, err = syscall.ForkExec("/proc/self/exe", []string{name}, attr)
	if err == nil && pidfd < 0 {
		_ = unix.Kill(pid, unix.SIGKILL)
		_, _ = unix.Wait4(pid, nil, 0, nil)
		err = errors.New("the kernel gave no pidfd for it (Linux 5.4 or later is needed)")
	}
	return pid, pidfd, err
}

// readReport waits for the exec or for what prevented it.
func readReport(f *os.File) error {
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		return fmt.Errorf("read the start report: %w", err)
	}
	switch r := launch.ParseReport(b); {
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

// memfd holds b. It is never executed, which kernels with vm.memfd_noexec=2
// want to be told and those before 6.3 do not understand.
func (f *fds) memfd(b []byte) (int, error) {
	fd, err := unix.MemfdCreate("fugue-launch", unix.MFD_CLOEXEC|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) {
		fd, err = unix.MemfdCreate("fugue-launch", unix.MFD_CLOEXEC)
	}
	if err != nil {
		return -1, fmt.Errorf("make a memfd for the plan: %w", err)
	}
	*f = append(*f, fd)
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		if err != nil {
			return -1, fmt.Errorf("write the plan: %w", err)
		}
		b = b[n:]
	}
	return fd, nil
}
