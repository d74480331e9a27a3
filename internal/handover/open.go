package handover

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Create makes a new, empty file (0600) and puts it in the place of path, in
// one step: a successor that dies before its first Write leaves ErrEmpty, and
// not its predecessor's state, which speaks of workers that it has taken over.
func Create(path string) (*Slots, error) {
	beside := path + ".new"
	// Left by a master that died here; only the holder of the lock comes here.
	if err := unix.Unlink(beside); err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("remove %s: %w", beside, err)
	}
	fd, err := unix.Open(beside, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create state %s: %w", beside, err)
	}
	err = unix.Fchmod(fd, 0o600) // whatever the umask
	if err == nil {
		err = unix.Rename(beside, path)
	}
	if err != nil {
		_ = unix.Close(fd)
		_ = unix.Unlink(beside)
		return nil, fmt.Errorf("create state %s: %w", path, err)
	}
	return &Slots{fd: fd, name: "state " + path}, nil
}

// Open opens an existing file. It must be a regular one, ours and nobody
// else's to read or write: what it says decides which processes are killed.
// Where there is none the error is os.ErrNotExist.
func Open(path string) (*Slots, error) {
	// O_NONBLOCK: the open of a FIFO would wait for its other end.
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open state", Path: path, Err: err}
	}
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	switch {
	case err != nil:
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		err = errors.New("not a regular file; move it out of the way")
	case int(st.Uid) != os.Geteuid():
		err = fmt.Errorf("owned by user %d, not by %d; move it out of the way", st.Uid, os.Geteuid())
	case st.Mode&0o077 != 0:
		err = fmt.Errorf("mode %04o lets others at it; move it out of the way, or chmod 0600 if nobody was", st.Mode&0o7777)
	}
	var s *Slots
	if err == nil {
		s, err = newSlots(fd, "state "+path)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("open state %s: %w", path, err)
	}
	return s, nil
}

// FromFD takes up a file that came by descriptor: over an exec, or from
// systemd's fd store, or a new memfd. It must be a regular file, open for both
// ways. It belongs to the Slots then, close-on-exec; after an error it is as
// it was and the caller's.
func FromFD(fd int) (*Slots, error) {
	name := fmt.Sprintf("state at fd %d", fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("take up %s: %w", name, err)
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	switch {
	case err != nil:
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		err = errors.New("not a regular file")
	case flags&unix.O_ACCMODE != unix.O_RDWR:
		err = errors.New("not open for reading and writing")
	}
	if err != nil {
		return nil, fmt.Errorf("take up %s: %w", name, err)
	}
	s, err := newSlots(fd, name)
	if err != nil {
		return nil, fmt.Errorf("take up %s: %w", name, err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
		return nil, fmt.Errorf("take up %s: %w", name, err)
	}
	return s, nil
}
