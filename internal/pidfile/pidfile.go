// Package pidfile keeps the file in which scripts find the PID of a master.
//
// The file is locked for as long as it is true, so that one that a killed master
// has left is known by having no lock, and never by a number that may be
// another's by now. It appears whole or not at all, and who removes it looks
// first whether it still is the one that it made.
package pidfile

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

// File is a PID file that this process has made and holds the lock of.
type File struct {
	path string
	fd   int
}

// attempts bounds how often another one that comes and goes is given way to.
const attempts = 10

// Create makes the file at path with this process's PID in it (0644), in the
// place of one that nobody holds. It refuses one that a living process holds,
// anything that is no PID file, a symbolic link, and a directory in which
// somebody else could put a file of their own.
func Create(path string) (*File, error) {
	if err := checkDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	own, beside, err := prepare(path)
	if err != nil {
		return nil, err
	}
	if err := install(own, beside); err != nil {
		return nil, err
	}
	return own, nil
}

// install puts a prepared file into its place; one that cannot be is removed.
func install(own *File, beside string) error {
	var err error
	for range attempts {
		var stale int
		if stale, err = lockStale(own.path); err != nil {
			break
		}
		var flags uint
		if stale < 0 {
			flags = unix.RENAME_NOREPLACE
		}
		err = unix.Renameat2(unix.AT_FDCWD, beside, unix.AT_FDCWD, own.path, flags)
		if stale >= 0 {
			_ = unix.Close(stale) // who waits for its lock sees that it is gone from its path
		}
		if err == nil {
			return nil
		}
		if err = fmt.Errorf("put it into place: %w", err); !errors.Is(err, unix.EEXIST) {
			break // else another was quicker, and is looked at
		}
	}
	_ = unix.Unlink(beside)
	_ = unix.Close(own.fd)
	return err
}

// Check says what Create would refuse, and makes nothing.
func Check(path string) error {
	if err := checkDir(filepath.Dir(path)); err != nil {
		return err
	}
	stale, err := lockStale(path)
	if stale >= 0 {
		_ = unix.Close(stale)
	}
	return err
}

// Resume takes up a file that crossed an exec as fd.
func Resume(path string, fd int) (*File, error) {
	f := &File{path, fd}
	if !f.linked() {
		return nil, fmt.Errorf("fd %d is not %s any more", fd, path)
	}
	if err := lock(fd); err != nil {
		return nil, err
	}
	unix.CloseOnExec(fd)
	return f, nil
}

// Path is where it is.
func (f *File) Path() string { return f.path }

// FD is the descriptor that carries the lock. It is close-on-exec: whoever
// execs clears that flag.
func (f *File) FD() int { return f.fd }

// Remove removes the file, unless another has taken its place.
func (f *File) Remove() {
	if f.linked() {
		_ = unix.Unlink(f.path)
	}
	_ = unix.Close(f.fd) // only now: nobody replaces one that is held
	f.fd = -1
}

func (f *File) linked() bool { return same(f.fd, f.path) }

// prepare makes the file under another name, whole and locked.
func prepare(path string) (*File, string, error) {
	beside := filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s.%d", filepath.Base(path), os.Getpid()))
	_ = unix.Unlink(beside) // of an earlier process of our number
	fd, err := unix.Open(beside, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return nil, "", fmt.Errorf("create it: %w", err)
	}
	err = unix.Fchmod(fd, 0o644) // whatever the umask
	if err == nil {
		_, err = unix.Pwrite(fd, []byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err == nil {
		err = lock(fd)
	}
	if err != nil {
		_ = unix.Unlink(beside)
		_ = unix.Close(fd)
		return nil, "", fmt.Errorf("write it: %w", err)
	}
	return &File{path, fd}, beside, nil
}

// lockStale locks the file that is there, whose owner is gone; -1: there is
// none.
func lockStale(path string) (int, error) {
	for range attempts {
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
		switch {
		case errors.Is(err, unix.ENOENT):
			return -1, nil
		case errors.Is(err, unix.ELOOP):
			return -1, errors.New("it is a symbolic link; remove it")
		case err != nil:
			return -1, fmt.Errorf("open it: %w", err)
		}
		if err = judge(fd); err == nil && same(fd, path) {
			return fd, nil
		}
		_ = unix.Close(fd)
		if err != nil {
			return -1, err
		}
	}
	return -1, errors.New("it is replaced again and again")
}

// judge refuses to replace what is no PID file of ours, or is somebody's.
func judge(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("look at it: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return errors.New("it is not a regular file")
	}
	if int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("it belongs to uid %d; remove it", st.Uid)
	}
	var buf [32]byte
	n, err := unix.Pread(fd, buf[:], 0)
	if err != nil {
		return fmt.Errorf("read it: %w", err)
	}
	text := strings.TrimSpace(string(buf[:n]))
	if text != "" && strings.Trim(text, "0123456789") != "" || n == len(buf) {
		return errors.New("it is there and no PID file; remove it, or say another path")
	}
	switch err := lock(fd); {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EACCES):
		return fmt.Errorf("process %s holds it", text)
	case err != nil:
		return err
	}
	return nil
}

// lock takes the lock of an open file description (F_OFD_SETLK, fcntl(2)): it
// ends with the process and survives an exec that keeps the descriptor.
func lock(fd int) error {
	return unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Whence: unix.SEEK_SET})
}

func same(fd int, path string) bool {
	var mine, theirs unix.Stat_t
	return unix.Fstat(fd, &mine) == nil && unix.Lstat(path, &theirs) == nil && mine.Dev == theirs.Dev && mine.Ino == theirs.Ino
}

// checkDir refuses a directory in which others could replace the file: root's
// scripts kill whatever it names.
func checkDir(dir string) error {
	var st unix.Stat_t
	switch err := unix.Stat(dir, &st); {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no directory %s; create it", dir)
	case err != nil:
		return fmt.Errorf("look at directory %s: %w", dir, err)
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return fmt.Errorf("%s is not a directory", dir)
	case st.Uid != 0 && int(st.Uid) != os.Geteuid():
		return fmt.Errorf("directory %s belongs to uid %d, who could put another file there", dir, st.Uid)
	case st.Mode&0o022 != 0 && st.Mode&unix.S_ISVTX == 0:
		return fmt.Errorf("directory %s can be written by others (mode %04o), who could put another file there", dir, st.Mode&0o7777)
	}
	return nil
}
