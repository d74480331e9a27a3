package sweep

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Descriptors of a caretaker: its lock, and where it says that it has begun.
const (
	lockFD  = 3
	begunFD = 4
)

// startCaretaker leaves a process behind that watches the unit, unless there
// is one.
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
	if err := l.spawn(o); err != nil {
		l.release()
		return fmt.Errorf("start the caretaker: %w", err)
	}
	l.pass()
	return nil
}

// spawn starts the caretaker that is to have the lock. It stays in the
// unit's cgroup, where KillMode=process lets it live, in a session of its own and
// in no directory that somebody may want to unmount; what it says goes where we
// speak. It is waited for until it has begun: a stop takes away the directory of
// what it reads, and of its lock where it has no rights, and that waits for us.
func (l *lock) spawn(o Options) error {
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(null)
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return err
	}
	hears := os.NewFile(uintptr(pipe[0]), "caretaker")
	defer hears.Close()
	args := words(o.Unit)
	if o.Name != "" {
		args = append(args, o.Name)
	}
	// The running image: a package may have replaced the file.
	_, err = syscall.ForkExec("/proc/self/exe", args, &syscall.ProcAttr{
		Dir: "/", Env: syscall.Environ(),
		Files: []uintptr{uintptr(null), uintptr(null), 2, lockFD: uintptr(l.fd), begunFD: uintptr(pipe[1])},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	unix.Close(pipe[1])
	if err != nil {
		return err
	}
	if _, err := io.ReadFull(hears, make([]byte, 1)); err != nil {
		return errors.New("it has ended; if nobody starts the unit again, what is left of it serves on until it is killed by hand")
	}
	return nil
}

// begun tells the sweep that started us.
func begun() {
	_, _ = unix.Write(begunFD, []byte{0}) // it may have been killed
	_ = unix.Close(begunFD)
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
