package proc

import (
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"fugue/internal/launch"
	"fugue/internal/launch/elf"
)

// A birth is a process that was just forked.
type birth struct {
	pid, pidfd int
	steps      []string // what its report calls by number
}

// bear forks, and executes what carries out the plan in the child. There are
// two ways, and what a worker meets is the same by both.
//
// The short one is a program for this one worker, in a memfd: a tenth of a
// millisecond. Not everybody may execute such a thing (vm.memfd_noexec, security
// modules, no code for the architecture). Where anything at all goes wrong, the
// long way is taken: fugue itself, which package launch turns into the worker,
// for the start of a Go runtime; and its failure is the one that is told. Which
// way was open is not remembered: a refusal costs little beside the long way,
// and may be over the next time.
func (s *Spec) bear(own *fds, report int) (birth, error) {
	files := make([]uintptr, 0, 5+len(s.Files))
	for _, fd := range append([]int{s.Stdin, s.Stdout, s.Stderr}, s.Files...) {
		files = append(files, uintptr(fd))
	}
	if m := elf.Native(); m != nil && !s.long && execKeepsRights() {
		if b, err := s.short(m, own, files, report); err == nil {
			return b, nil
		}
	}
	return s.theLongWay(own, files, report)
}

func (s *Spec) short(m *elf.Machine, own *fds, files []uintptr, report int) (birth, error) {
	at := len(files)
	image, err := m.Make(&s.Plan, at, at+1)
	if err != nil {
		return birth{}, err
	}
	fd, err := own.memfd(unix.MFD_EXEC)
	if err != nil {
		return birth{}, err
	}
	if err := errors.Join(write(fd, image.Code, 0), write(fd, image.Data, elf.DataOffset)); err != nil {
		return birth{}, err
	}
	b, err := s.fork("/proc/self/fd/"+strconv.Itoa(at), []string{}, append(files, uintptr(fd), uintptr(report)))
	b.steps = image.Steps
	return b, err
}

func (s *Spec) theLongWay(own *fds, files []uintptr, report int) (birth, error) {
	at := len(files)
	fd, err := own.memfd(unix.MFD_NOEXEC_SEAL)
	if err != nil {
		return birth{}, err
	}
	if err := write(fd, s.Plan.Encode(), 0); err != nil {
		return birth{}, err
	}
	// /proc/self/exe is the running image even after a package upgrade has
	// replaced its file.
	return s.fork("/proc/self/exe", launch.Environ(at, at+1), append(files, uintptr(fd), uintptr(report)))
}

// fork executes path with nothing of the user's in its environment.
func (s *Spec) fork(path string, env []string, files []uintptr) (birth, error) {
	// The mask of the forking thread is the child's.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	all, before := fullSet(), unix.Sigset_t{}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &before); err != nil {
		return birth{}, err
	}
	defer func() { _ = unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil) }()

	b := birth{pidfd: -1}
	attr := &syscall.ProcAttr{Env: env, Files: files, Sys: &syscall.SysProcAttr{Setpgid: true, PidFD: &b.pidfd}}
	if s.CgroupFD >= 0 {
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, s.CgroupFD
	}
	var err error
	b.pid, err = syscall.ForkExec(path, []string{"fugue: starting " + s.Name}, attr)
	if attr.Sys.UseCgroupFD && (errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM)) {
		// clone3 is forbidden: RestrictNamespaces= for one does that.
		attr.Sys.UseCgroupFD = false
		if b.pid, err = syscall.ForkExec(path, []string{"fugue: starting " + s.Name}, attr); err == nil {
			err = s.enter(b)
		}
	}
	if err == nil && b.pidfd < 0 {
		_ = unix.Kill(b.pid, unix.SIGKILL)
		_, _ = unix.Wait4(b.pid, nil, 0, nil)
		err = errors.New("the kernel gave no pidfd for it (Linux 5.4 or later is needed)")
	}
	return b, err
}

// enter moves a child into the cgroup that it could not be born in. With
// Plan.Held nothing of the user's has run before, and there is one process yet.
func (s *Spec) enter(b birth) error {
	fd, err := unix.Openat(s.CgroupFD, "cgroup.procs", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		_, err = unix.Write(fd, strconv.AppendInt(nil, int64(b.pid), 10))
		_ = unix.Close(fd)
	}
	if err == nil {
		return nil
	}
	_ = unix.Kill(b.pid, unix.SIGKILL)
	_, _ = unix.Wait4(b.pid, nil, 0, nil)
	if b.pidfd >= 0 {
		_ = unix.Close(b.pidfd)
	}
	return fmt.Errorf("move process %d into its cgroup: %w", b.pid, err)
}

// memfd makes a file in memory, and says whether it is to be executed: kernels
// with vm.memfd_noexec want to be told, and those before 6.3 do not understand.
func (f *fds) memfd(kind int) (int, error) {
	fd, err := unix.MemfdCreate("fugue-launch", unix.MFD_CLOEXEC|kind)
	if errors.Is(err, unix.EINVAL) {
		fd, err = unix.MemfdCreate("fugue-launch", unix.MFD_CLOEXEC)
	}
	if err != nil {
		return -1, fmt.Errorf("make a memfd for the plan: %w", err)
	}
	*f = append(*f, fd)
	return fd, nil
}

func write(fd int, b []byte, offset int64) error {
	for len(b) > 0 {
		n, err := unix.Pwrite(fd, b, offset)
		if err != nil {
			return fmt.Errorf("write the plan: %w", err)
		}
		b, offset = b[n:], offset+int64(n)
	}
	return nil
}

// execKeepsRights reports whether a program that has no rights of its own would
// have ours. Root's would, and one that has its rights from AmbientCapabilities=
// gives them on; those that come from fugue's own file (setcap) come again only
// with that file.
func execKeepsRights() bool {
	if unix.Geteuid() == 0 {
		return true
	}
	head, caps := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, [2]unix.CapUserData{}
	if unix.Capget(&head, &caps[0]) != nil {
		return false
	}
	for i := range 64 {
		if caps[i/32].Permitted&(1<<(i%32)) == 0 {
			continue
		}
		kept, err := unix.PrctlRetInt(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_IS_SET, uintptr(i), 0, 0)
		if err != nil || kept == 0 {
			return false
		}
	}
	return true
}
