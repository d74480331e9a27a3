package logs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	fileMode  = 0o640 // of a log file that is made, less the umask
	fileFlags = unix.O_WRONLY | unix.O_APPEND | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC
)

// ErrNoFile is the error of a path that leads to something else.
var ErrNoFile = errors.New("not a regular file")

// errLink says more than the "too many levels of symbolic links" of ELOOP.
var errLink = errors.New("a symbolic link, which a log file must not be")

// A File is a log file that this process writes to. Its writers are the
// readers of many workers' pipes, and it can be opened again under them: after
// a rename, without a line that is lost or torn.
type File struct {
	path  string
	users int // of Files

	// The descriptor is exchanged between two writes.
	mu     sync.Mutex
	rights Rights
	file   *os.File
	torn   bool // the last write ended within a line
	closed bool
}

// open opens a path with somebody's rights. Whoever may write to the
// directory may put there what he likes: no link is followed, no FIFO is waited
// for, and nothing but a regular file is taken.
func open(path string, r Rights, flags int) (fd int, err error) {
	err = r.do(func() error {
		fd, err = unix.Open(path, fileFlags|flags, fileMode)
		return err
	})
	switch {
	case errors.Is(err, unix.ELOOP):
		err = errLink
	case errors.Is(err, unix.ENXIO), errors.Is(err, unix.EISDIR): // a FIFO without a reader, a socket
		err = ErrNoFile
	}
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		closeAll(fd)
		return -1, &fs.PathError{Op: "open", Path: path, Err: ErrNoFile}
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFL, unix.O_APPEND); err != nil {
		closeAll(fd)
		return -1, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}

// OpenFile opens a log file to append to it, and makes it where there is none.
func OpenFile(path string, r Rights) (*File, error) {
	f := &File{path: path, rights: r}
	if err := f.Reopen(); err != nil {
		return nil, err
	}
	return f, nil
}

// CheckFile says what would be wrong with a log file, and makes none. Of what
// cannot be known, because we cannot have such rights, it says nothing.
func CheckFile(path string, r Rights) error {
	var found unix.Stat_t
	missing := false
	err := r.do(func() error {
		if err := unix.Lstat(path, &found); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		missing = true
		dir := filepath.Dir(path)
		var st unix.Stat_t
		if err := unix.Stat(dir, &st); err != nil {
			return fmt.Errorf("%w (%s)", err, dir)
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return fmt.Errorf("%w (%s)", unix.ENOTDIR, dir)
		}
		if err := unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
			return fmt.Errorf("%w (%s)", err, dir)
		}
		return nil
	})
	switch kind := found.Mode & unix.S_IFMT; {
	case errors.Is(err, errOtherRights):
		return nil
	case err != nil || missing:
		return err
	case kind == unix.S_IFDIR:
		return unix.EISDIR
	case kind == unix.S_IFLNK:
		return errLink
	case kind != unix.S_IFREG:
		return ErrNoFile
	}
	fd, err := open(path, r, 0)
	if err != nil {
		var at *fs.PathError
		if errors.As(err, &at) {
			err = at.Err
		}
		return err
	}
	closeAll(fd)
	return nil
}

// Path is what the file was opened by.
func (f *File) Path() string { return f.path }

// Write implements io.Writer. It takes whole lines.
func (f *File) Write(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.torn { // the disk was full within a line
		b = append([]byte("\n"), b...)
	}
	n, err := f.file.Write(b)
	f.torn = n < len(b) && (n > 0 || f.torn)
	return n, err
}

// Reopen opens the path again. Where it cannot, the file stays as it was.
func (f *File) Reopen() error {
	f.mu.Lock()
	rights := f.rights
	f.mu.Unlock()
	fd, err := open(f.path, rights, unix.O_CREAT) // takes its time, and holds up no writer
	if err != nil {
		return err
	}
	f.exchange(fd)
	return nil
}

func (f *File) entitle(r Rights) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rights = r
}

func (f *File) exchange(fd int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed { // while it was opened
		closeAll(fd)
		return
	}
	if f.file != nil {
		_ = f.file.Close()
	}
	f.file, f.torn = os.NewFile(uintptr(fd), f.path), false
}

// dup gives another descriptor of the file, close-on-exec.
func (f *File) dup() (fd int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	conn, err := f.file.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd = -1
	if e := conn.Control(func(n uintptr) { fd, err = unix.FcntlInt(n, unix.F_DUPFD_CLOEXEC, 0) }); e != nil {
		err = e
	}
	return fd, err
}

// Close closes it.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || f.file == nil {
		return nil
	}
	f.closed = true
	return f.file.Close()
}
