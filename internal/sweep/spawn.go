package sweep

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
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
	args := words(o.Unit)
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

// words are what a caretaker is started with.
func words(unit string) []string { return []string{"fugue", "sweep", "--caretaker", unit} }

// IsCaretaker reports whether a process is the caretaker of a unit, or has no
// words any more because it is ending. By them alone: a worker that calls itself so
// is not ended before its time, and ends with its unit as all do.
func IsCaretaker(pid int, unit string) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	return err == nil && isCaretaker(string(b), unit)
}

func isCaretaker(cmdline, unit string) bool {
	return cmdline == "" || strings.HasPrefix(cmdline, strings.Join(words(unit), "\x00")+"\x00")
}
