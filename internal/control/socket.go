package control

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Socket is the listening control socket of a pool, as a raw descriptor that
// can be stored with systemd and carried over an exec.
type Socket struct {
	fd   int
	path string
}

// Listen binds the control socket in the directory that is held. A socket left
// there by a master that died is replaced; anything else in its place is an
// error. mode and gid (-1: as it comes) are set before it listens, so that
// nobody can connect in between.
func Listen(h *Hold, mode os.FileMode, gid int) (*Socket, error) {
	path := filepath.Join(h.dir, socketFile)
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("the path of the control socket has %d bytes, sockets allow %d: %s; choose a shorter name for the pool, or a shorter RuntimeDirectory= or XDG_RUNTIME_DIR", len(path), maxSocketPath, path)
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("create control socket: %w", err)
	}
	s := &Socket{fd: fd, path: path}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		s.Close(false)
		return nil, fmt.Errorf("bind control socket %s: %w", path, err)
	}
	if err := s.open(mode, gid); err != nil {
		s.Close(true)
		return nil, err
	}
	return s, nil
}

// Permit gives the socket's file to a group (-1: as it is) and sets its mode.
func (s *Socket) Permit(mode os.FileMode, gid int) error {
	if gid >= 0 {
		if err := os.Lchown(s.path, -1, gid); err != nil {
			return fmt.Errorf("give the control socket to group %d: %w", gid, err)
		}
	}
	if err := os.Chmod(s.path, mode.Perm()); err != nil {
		return fmt.Errorf("set mode of control socket: %w", err)
	}
	return nil
}

func (s *Socket) open(mode os.FileMode, gid int) error {
	if err := s.Permit(mode, gid); err != nil {
		return err
	}
	if err := unix.Listen(s.fd, unix.SOMAXCONN); err != nil {
		return fmt.Errorf("listen on control socket %s: %w", s.path, err)
	}
	return nil
}

// Adopt takes up a control socket that came from systemd's store or over an
// exec; fd then belongs to the Socket. One that does not listen at its place in
// the directory held is an error and leaves fd open: Listen makes a new one.
func Adopt(h *Hold, fd int) (*Socket, error) {
	path := filepath.Join(h.dir, socketFile)
	listening, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil {
		return nil, fmt.Errorf("look at control socket fd %d: %w", fd, err)
	}
	addr, err := unix.Getsockname(fd)
	if err != nil {
		return nil, fmt.Errorf("look at control socket fd %d: %w", fd, err)
	}
	if ua, ok := addr.(*unix.SockaddrUnix); !ok || ua.Name != path || listening == 0 {
		return nil, fmt.Errorf("fd %d is not a socket listening on %s", fd, path)
	}
	if fi, err := os.Lstat(path); err != nil || fi.Mode().Type() != fs.ModeSocket {
		return nil, fmt.Errorf("control socket %s is gone from its path", path)
	}
	unix.CloseOnExec(fd)
	return &Socket{fd: fd, path: path}, nil
}

// FD is the listening descriptor; it is close-on-exec.
func (s *Socket) FD() int { return s.fd }

// Path is where clients find it.
func (s *Socket) Path() string { return s.path }

// Close closes the descriptor. With unlink it first removes the path, so that a
// socket of a successor is never the one removed.
func (s *Socket) Close(unlink bool) {
	if unlink {
		os.Remove(s.path)
	}
	unix.Close(s.fd)
	s.fd = -1
}

// listener is the socket for net/http: a duplicate, which can be closed while
// new connections go on queueing for a successor.
func (s *Socket) listener() (*net.UnixListener, error) {
	dup, err := unix.FcntlInt(uintptr(s.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("duplicate control socket: %w", err)
	}
	f := os.NewFile(uintptr(dup), s.path)
	defer f.Close()
	l, err := net.FileListener(f) //nolint:forbidigo // no worker shares this socket
	if err != nil {
		return nil, fmt.Errorf("serve control socket: %w", err)
	}
	ul := l.(*net.UnixListener)
	ul.SetUnlinkOnClose(false)
	return ul, nil
}

func removeStale(path string) error {
	fi, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at control socket: %w", err)
	}
	if fi.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is in the way of the control socket and is not a socket: remove it", path)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("remove old control socket: %w", err)
	}
	return nil
}
