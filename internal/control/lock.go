package control

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Hold is the right to be the master of one pool: the lock on its directory.
//
// The lock belongs to the open file description (F_OFD_SETLK, fcntl(2)): it
// ends with the process, survives an exec that keeps the descriptor, and,
// unlike flock, others can ask about it without taking it. A `fugue list` at
// the wrong instant must not make a starting master believe that it is the
// second one.
type Hold struct {
	dir string
	fd  int
}

// Lock creates a pool's directory where it is missing and takes its lock. A
// second pool of the same name gets an error that names the holder's PID.
func Lock(dir string) (*Hold, error) {
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, lockFile)
	// systemd removes the directory of a stopped unit: a lock on a file that
	// is gone from its path holds nobody else off, so it is taken again.
	for range 10 {
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o644)
		if err != nil {
			return nil, fmt.Errorf("open lock %s: %w", path, err)
		}
		h := &Hold{dir: dir, fd: fd}
		err = h.take()
		if err == nil && h.linked() {
			return h, h.sign()
		}
		h.Release()
		if err != nil {
			return nil, err
		}
		if err := makeDir(dir); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("lock %s: it is replaced again and again", path)
}

// Resume takes up a lock that crossed an exec as fd, which then belongs to the
// Hold. An fd that is no longer the lock of dir is an error, and stays open.
func Resume(fd int, dir string) (*Hold, error) {
	h := &Hold{dir: dir, fd: fd}
	if !h.linked() {
		return nil, fmt.Errorf("resume lock: fd %d is not %s", fd, filepath.Join(dir, lockFile))
	}
	if err := h.take(); err != nil {
		return nil, err
	}
	unix.CloseOnExec(fd)
	return h, h.sign()
}

// Dir is the directory that is held.
func (h *Hold) Dir() string { return h.dir }

// FD is the descriptor that carries the lock. It is close-on-exec: whoever
// execs clears that flag.
func (h *Hold) FD() int { return h.fd }

// Release ends the hold. The lock file stays: removing it would let two
// masters lock two files of one name.
func (h *Hold) Release() {
	unix.Close(h.fd)
	h.fd = -1
}

func (h *Hold) take() error {
	err := unix.FcntlFlock(uintptr(h.fd), unix.F_OFD_SETLK, wholeFile())
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EACCES):
		name := filepath.Base(h.dir)
		if pid := signature(h.dir); pid > 0 {
			return fmt.Errorf("pool %s runs already (pid %d)", name, pid)
		}
		return fmt.Errorf("pool %s runs already", name)
	}
	return fmt.Errorf("lock %s: %w", filepath.Join(h.dir, lockFile), err)
}

// linked tells whether the lock file is the one that its path leads to.
func (h *Hold) linked() bool {
	var mine, theirs unix.Stat_t
	return unix.Fstat(h.fd, &mine) == nil &&
		unix.Lstat(filepath.Join(h.dir, lockFile), &theirs) == nil &&
		mine.Dev == theirs.Dev && mine.Ino == theirs.Ino
}

// sign writes the master's PID into the lock file, for the ones held off.
func (h *Hold) sign() error {
	pid := []byte(strconv.Itoa(os.Getpid()) + "\n")
	if _, err := unix.Pwrite(h.fd, pid, 0); err != nil {
		h.Release()
		return fmt.Errorf("write pid into lock: %w", err)
	}
	if err := unix.Ftruncate(h.fd, int64(len(pid))); err != nil {
		h.Release()
		return fmt.Errorf("write pid into lock: %w", err)
	}
	return nil
}

// signature is the PID in a lock file, or 0.
func signature(dir string) int {
	b, err := os.ReadFile(filepath.Join(dir, lockFile))
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return pid
}

// held tells whether somebody holds the lock of dir, without taking it.
func held(dir string) (bool, error) {
	path := filepath.Join(dir, lockFile)
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if errors.Is(err, fs.ErrPermission) {
		return false, Errorf(ExitDenied, "look at lock %s: %w", path, err)
	}
	if err != nil {
		return false, fmt.Errorf("look at lock %s: %w", path, err)
	}
	defer unix.Close(fd)
	l := wholeFile()
	if err := unix.FcntlFlock(uintptr(fd), unix.F_OFD_GETLK, l); err != nil {
		return false, fmt.Errorf("ask for lock %s: %w", path, err)
	}
	return l.Type != unix.F_UNLCK, nil
}

func wholeFile() *unix.Flock_t {
	return &unix.Flock_t{Type: unix.F_WRLCK, Whence: unix.SEEK_SET}
}
