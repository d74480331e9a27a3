package activation

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// BusyError is an address that somebody else has. errors.Is finds EADDRINUSE
// in it.
type BusyError struct {
	Network, Address string
	Holders          []Holder // those that /proc shows; may be empty
}

func (e *BusyError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "bind %s %s: address already in use", e.Network, e.Address)
	switch n := len(e.Holders); {
	case n == 0:
		b.WriteString(", by a process that /proc does not show")
	case n == 1:
		fmt.Fprintf(&b, " by %v", e.Holders[0])
	default:
		fmt.Fprintf(&b, " by %v and %d more", e.Holders[0], n-1)
	}
	return b.String()
}

func (e *BusyError) Unwrap() error { return unix.EADDRINUSE }

func busy(e endpoint) error {
	return &BusyError{Network: e.network, Address: e.String(), Holders: HolderOf(e.network, e.String())}
}

// bindError says what the user can do about an address that cannot be had.
func bindError(e endpoint, err, fetchErr error) error {
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		var known *BusyError
		switch {
		case errors.Is(err, unix.EADDRINUSE):
			err = busy(e)
		case !errors.As(err, &known):
			err = fmt.Errorf("bind %s %s: %w", e.network, e, err)
		}
		if fetchErr != nil {
			return fmt.Errorf("%w; fetching it from there: %w", err, fetchErr)
		}
		return err
	case errors.Is(err, unix.EACCES) && e.path == "":
		return fmt.Errorf("bind %s %s: %w: low ports need CAP_NET_BIND_SERVICE (AmbientCapabilities=) or a .socket unit", e.network, e, err)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Errorf("bind %s %s: %w: no interface has it; free_bind binds it before one does", e.network, e, err)
	case errors.Is(err, unix.ENOENT) && e.path != "":
		return fmt.Errorf("bind %s %s: %w: its directory must exist (RuntimeDirectory= makes one)", e.network, e, err)
	}
	return fmt.Errorf("bind %s %s: %w", e.network, e, err)
}

// bindInet makes a new TCP or UDP socket. Those of leaving are about to be
// closed by the same change: where one of them stands in the way (from
// 127.0.0.1:80 to 0.0.0.0:80), both listen side by side until then.
func bindInet(e endpoint, s Spec, leaving []Listener) (fd int, err error) {
	sock, err := newSocket(e, s)
	if err != nil {
		return -1, err
	}
	defer func() {
		if err != nil {
			unix.Close(sock)
		}
	}()
	if e.network == "tcp" {
		// For UDP the same flag would let a second process take the datagrams.
		if err = unix.SetsockoptInt(sock, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return -1, fmt.Errorf("set SO_REUSEADDR: %w", err)
		}
	}
	sa, err := e.sockaddr()
	if err != nil {
		return -1, err
	}
	open := func() error {
		if err := unix.Bind(sock, sa); err != nil {
			return err
		}
		if !e.stream() {
			return nil
		}
		return unix.Listen(sock, backlog(s))
	}
	if err = open(); errors.Is(err, unix.EADDRINUSE) {
		var overlap []int
		for _, l := range leaving {
			if le, err := endpointOf(l); err == nil && l.Origin != Systemd && l.Network == e.network && le.ip.Port() == e.ip.Port() {
				overlap = append(overlap, l.FD)
			}
		}
		if len(overlap) > 0 {
			err = withReusePort(append(overlap, sock), open)
		}
	}
	if err != nil {
		return -1, err
	}
	return sock, nil
}

func newSocket(e endpoint, s Spec) (int, error) {
	fd, err := unix.Socket(e.domain(), e.sockType()|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("create a %s socket: %w", e.network, err)
	}
	if err := prepareSocket(fd, e, s); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// withReusePort runs f while all fds have SO_REUSEPORT, and then gives each its
// own value back: left on, any process of this user could join the group
// unnoticed and take a part of the connections.
func withReusePort(fds []int, f func() error) error {
	for _, fd := range fds {
		was, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT)
		if err != nil {
			return err
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
			return err
		}
		defer func() { _ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, was) }()
	}
	return f()
}
