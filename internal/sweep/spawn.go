package sweep

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// lockFD is the descriptor of its lock in a caretaker.
const lockFD = 3

// startCaretaker leaves a process behind that watches the unit, unless there
// is one. It stays in the unit's cgroup, where KillMode=process lets it live,
// in a session of its own and in no directory that somebody may want to
// unmount; what it says goes where we speak.
func startCaretaker(o Options) error {
	path, err := lockPath(o.Env, unix.Geteuid(), o.Unit)
	if err != nil {
		return err
	}
	l, err := tryLock(path)
	if errors.Is(err, errCared) {
		return nil
	}
	if err != nil {
		return err
	}
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		l.release()
		return fmt.Errorf("start the caretaker: %w", err)
	}
	defer unix.Close(null)
	args := []string{"fugue", "sweep", "--caretaker", o.Unit}
	if o.Name != "" {
		args = append(args, o.Name)
	}
	// The running image: a package may have replaced the file.
	_, err = syscall.ForkExec("/proc/self/exe", args, &syscall.ProcAttr{
		Dir: "/", Env: syscall.Environ(),
		Files: []uintptr{uintptr(null), uintptr(null), 2, uintptr(l.fd)},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		l.release()
		return fmt.Errorf("start the caretaker: %w", err)
	}
	l.pass()
	return nil
}
