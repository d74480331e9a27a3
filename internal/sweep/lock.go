package sweep

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// lock is the right to be the one caretaker of a unit: an open-file-description
// lock (F_OFD_SETLK, fcntl(2)), which passes to a child with the descriptor
// and ends with the last process that has it.
//
// The file is in a directory of whoever takes care, root's mostly, and not in
// the pool's: with User= that one belongs to the workers' side, who could hold
// the lock themselves, and systemd removes it when the unit stops.
type lock struct {
	path string
	fd   int
}

// errCared is the error of tryLock where a caretaker is there.
var errCared = errors.New("another caretaker is there")

// lockPath is where the lock of a unit's caretaker is.
func lockPath(env func(string) string, euid int, unit string) (string, error) {
	dir := "/run"
	if euid != 0 {
		dir = env("XDG_RUNTIME_DIR")
		if dir == "" {
			dir, _, _ = strings.Cut(env("RUNTIME_DIRECTORY"), ":")
		}
	}
	if !filepath.IsAbs(dir) {
		return "", fmt.Errorf("find a place for the caretaker's lock: there is neither XDG_RUNTIME_DIR nor RUNTIME_DIRECTORY; add the + of ExecStopPost=+ to the unit")
	}
	return filepath.Join(dir, "fugue-caretaker."+unit+".lock"), nil
}

// tryLock takes the lock, or returns errCared.
func tryLock(path string) (*lock, error) {
	for {
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
		if err != nil {
			return nil, fmt.Errorf("open the caretaker's lock %s: %w", path, err)
		}
		l := &lock{path, fd}
		if err := l.take(); err != nil {
			l.pass()
			return nil, err
		}
		if l.linked() {
			return l, nil
		}
		l.pass() // its holder removed it while we opened it
	}
}

// resume takes up a lock that came from the process which started us.
func resume(path string, fd int) (*lock, error) {
	l := &lock{path, fd}
	if !l.linked() {
		return nil, fmt.Errorf("take up the caretaker's lock: descriptor %d is not %s", fd, path)
	}
	unix.CloseOnExec(fd)
	return l, l.take()
}

func (l *lock) take() error {
	err := unix.FcntlFlock(uintptr(l.fd), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Whence: unix.SEEK_SET})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EACCES):
		return errCared
	}
	return fmt.Errorf("take the caretaker's lock %s: %w", l.path, err)
}

// linked tells whether the file is the one that the path leads to.
func (l *lock) linked() bool {
	var mine, theirs unix.Stat_t
	return unix.Fstat(l.fd, &mine) == nil && unix.Lstat(l.path, &theirs) == nil &&
		mine.Dev == theirs.Dev && mine.Ino == theirs.Ino
}

// release ends the right and takes the file away, while it still is ours.
func (l *lock) release() {
	if l.linked() {
		_ = os.Remove(l.path)
	}
	l.pass()
}

// pass closes our descriptor: the right is now another's, who has it too.
func (l *lock) pass() { _ = unix.Close(l.fd) }
