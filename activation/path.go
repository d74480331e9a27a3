package activation

import (
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// fileID is a file's identity for as long as something holds the file; a bound
// socket holds that of its path.
type fileID struct{ dev, inode uint64 }

// bindUnix makes a new unix socket. A path where nobody accepts any more is
// taken over; ours are sockets of this process that do not count as somebody
// (they are being replaced).
func bindUnix(e endpoint, s Spec, ours map[uint64]bool) (fd int, id fileID, err error) {
	sock, err := newSocket(e, s)
	if err != nil {
		return -1, fileID{}, err
	}
	var file fileID
	defer func() {
		if err != nil {
			if e := removePath(e.path, file); e != nil {
				err = errors.Join(err, e)
			}
			unix.Close(sock)
		}
	}()
	access, err := s.access()
	if err != nil {
		return -1, fileID{}, err
	}
	if !e.abstract() {
		unlock, err := lockPath(e.path)
		if err != nil {
			return -1, fileID{}, err
		}
		defer unlock()
		// The path gets the mode of the socket's own inode (af_unix.c): closed
		// to all until owner and mode are right.
		if err := unix.Fchmod(sock, 0); err != nil {
			return -1, fileID{}, fmt.Errorf("set the mode of the socket: %w", err)
		}
	}
	sa, err := e.sockaddr()
	if err != nil {
		return -1, fileID{}, err
	}
	err = unix.Bind(sock, sa)
	if errors.Is(err, unix.EADDRINUSE) && !e.abstract() {
		if err = clearStale(e, ours); err == nil {
			err = unix.Bind(sock, sa)
		}
	}
	if err != nil {
		return -1, fileID{}, err
	}
	if !e.abstract() {
		var st unix.Stat_t
		if err := unix.Lstat(e.path, &st); err != nil {
			return -1, fileID{}, fmt.Errorf("look at the new socket: %w", err)
		}
		file = fileID{st.Dev, st.Ino}
		if _, err := access.apply(e.path, file); err != nil {
			return -1, fileID{}, err
		}
	}
	if e.stream() {
		if err := unix.Listen(sock, backlog(s)); err != nil {
			return -1, fileID{}, fmt.Errorf("listen: %w", err)
		}
	}
	return sock, file, nil
}

// lockPath keeps other fugues from binding the path until unlock: of two that
// clear a stale one, the second would otherwise remove the first's new socket.
// It does not wait, because who finds it locked has come too late anyway. A
// lock file that a killed process left is used and removed by the next.
func lockPath(path string) (unlock func(), err error) {
	name := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".fugue-lock")
	for {
		fd, err := unix.Open(name, unix.O_CREAT|unix.O_RDWR|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return nil, fmt.Errorf("lock the path: %w", err)
		}
		if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
			unix.Close(fd)
			if errors.Is(err, unix.EWOULDBLOCK) {
				return nil, fmt.Errorf("%w: another process is binding it right now", unix.EADDRINUSE)
			}
			return nil, fmt.Errorf("lock the path: %w", err)
		}
		var held, named unix.Stat_t
		if err := unix.Fstat(fd, &held); err == nil && unix.Lstat(name, &named) == nil && held.Dev == named.Dev && held.Ino == named.Ino {
			return func() { _ = unix.Unlink(name); unix.Close(fd) }, nil
		}
		unix.Close(fd) // the file of a holder that was just done
	}
}

// clearStale removes a socket file that leads nowhere; the path is locked.
// Programs that do not know the lock are reckoned with too: all is judged on a
// handle of the file, never on its name, and the file is renamed before it is
// removed. Should a live socket have come there in between, it is seen for what
// it is and put back.
func clearStale(e endpoint, ours map[uint64]bool) error {
	h, err := unix.Open(e.path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	} else if err != nil {
		return err
	}
	defer unix.Close(h) // until then the inode number cannot be given again
	var st unix.Stat_t
	if err := unix.Fstat(h, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return errors.New("the path exists and is not a socket: remove it or choose another")
	}
	if alive, err := answers(h, &st, e, ours); err != nil {
		return err
	} else if alive {
		return busy(e)
	}
	return removeJudged(e, fileID{st.Dev, st.Ino})
}

// removeJudged removes the file that was found dead, and no other.
func removeJudged(e endpoint, dead fileID) error {
	aside := filepath.Join(filepath.Dir(e.path), ".fugue-"+rand.Text())
	if err := unix.Rename(e.path, aside); errors.Is(err, unix.ENOENT) {
		return nil
	} else if err != nil {
		return fmt.Errorf("remove the stale socket: %w", err)
	}
	var moved unix.Stat_t
	if err := unix.Lstat(aside, &moved); err != nil {
		return fmt.Errorf("remove the stale socket: %w", err)
	}
	if (fileID{moved.Dev, moved.Ino}) != dead {
		// Link does not overwrite: a third process may have been quicker.
		_ = unix.Link(aside, e.path)
		_ = unix.Unlink(aside)
		return busy(e)
	}
	return unix.Unlink(aside)
}

// answers reports whether anybody is behind a socket file: a socket bound to
// it, be it only about to listen, or one of another network namespace that
// takes a connection.
func answers(h int, st *unix.Stat_t, e endpoint, ours map[uint64]bool) (bool, error) {
	sockets, _ := unixSockets(0) // without sock_diag the connect alone decides
	for _, s := range sockets {
		if s.accepting() && s.boundTo(st, e.path) && !ours[uint64(s.inode)] {
			return true, nil
		}
	}
	fd, err := unix.Socket(unix.AF_UNIX, e.sockType()|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	err = unix.Connect(fd, &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d", h)})
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return false, nil
	case err == nil, errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EPROTOTYPE):
		return true, nil // accepts; its queue is full; another type of socket
	}
	return false, fmt.Errorf("see whether somebody accepts there: %w", err)
}

// removePath unlinks a socket's path if it is still the same file. It must be
// called before the socket is closed: afterwards the inode number may already
// be somebody else's.
func removePath(path string, id fileID) error {
	var st unix.Stat_t
	if id == (fileID{}) {
		return nil
	}
	if err := unix.Lstat(path, &st); errors.Is(err, unix.ENOENT) {
		return nil
	} else if err != nil {
		return fmt.Errorf("remove %s: %w", path, err)
	}
	if (fileID{st.Dev, st.Ino}) != id {
		return nil
	}
	if err := unix.Unlink(path); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove %s: %w", path, err)
	}
	return nil
}

// pathOf finds the file of a bound unix socket, and whether a client that
// opens the path reaches this socket. Where the kernel does not tell which
// socket a file belongs to, it is reached but not known as ours.
func pathOf(socket uint64, path string) (id fileID, reached bool) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return fileID{}, !errors.Is(err, unix.ENOENT)
	}
	sockets, _ := unixSockets(0)
	other := false
	for _, s := range sockets {
		if s.accepting() && s.boundTo(&st, path) {
			if uint64(s.inode) == socket {
				return fileID{st.Dev, st.Ino}, true
			}
			other = true
		}
	}
	return fileID{}, !other
}
