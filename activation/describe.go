package activation

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// description is what an fd says about itself; names are only claims.
type description struct {
	network, address string
	dev, inode       uint64
	connected        bool // a connection, not something to take connections from
}

// describe looks at any fd that systemd may pass. What is neither an IP nor a
// unix socket gets network "other" and what /proc calls it as the address.
func describe(fd int) (description, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return description{}, fmt.Errorf("look at fd %d: %w", fd, err)
	}
	d := description{network: "other", dev: st.Dev, inode: st.Ino}
	if st.Mode&unix.S_IFMT == unix.S_IFSOCK {
		domain, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
		kind, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
		if network := networkOf(domain, kind); network != "" {
			sa, err := unix.Getsockname(fd)
			if err != nil {
				return description{}, fmt.Errorf("get the address of fd %d: %w", fd, err)
			}
			d.network, d.address = network, formatSockaddr(sa)
			_, err = unix.Getpeername(fd)
			d.connected = err == nil
			return d, nil
		}
	}
	d.address, _ = os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	return d, nil
}

func networkOf(domain, kind int) string {
	switch {
	case domain == unix.AF_UNIX && kind == unix.SOCK_STREAM:
		return "unix"
	case domain == unix.AF_UNIX && kind == unix.SOCK_DGRAM:
		return "unixgram"
	case domain == unix.AF_UNIX && kind == unix.SOCK_SEQPACKET:
		return "unixpacket"
	case (domain == unix.AF_INET || domain == unix.AF_INET6) && kind == unix.SOCK_STREAM:
		return "tcp"
	case (domain == unix.AF_INET || domain == unix.AF_INET6) && kind == unix.SOCK_DGRAM:
		return "udp"
	}
	return ""
}

// Listening reports whether connections or datagrams can still arrive. A
// worker that calls shutdown(2) on a shared socket ends it for every process
// that holds it; the socket then shows POLLHUP.
func Listening(l Listener) bool {
	p := []unix.PollFd{{Fd: int32(l.FD)}}
	for {
		_, err := unix.Poll(p, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || p[0].Revents&(unix.POLLHUP|unix.POLLERR|unix.POLLNVAL) != 0 {
			return false
		}
		break
	}
	if l.Network != "tcp" && l.Network != "unix" && l.Network != "unixpacket" {
		return true
	}
	v, err := unix.GetsockoptInt(l.FD, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	return err == nil && v == 1
}

// Revive makes a TCP listener that somebody shut down listen again, with its
// address and the backlog of its Spec; one that listens is left alone. Other
// kinds of socket cannot be revived: the error says so, and a reload binds a
// unix path anew. Unless it was stored with FDPOLL=0, systemd drops a socket
// from the fd store when it is shut down.
func Revive(l Listener) error {
	if Listening(l) {
		return nil
	}
	if l.Network != "tcp" {
		return fmt.Errorf("revive %s %s: it was shut down by a worker, and the kernel offers no way back for this kind of socket: reload to bind it anew", l.Network, l.Address)
	}
	if err := keepPort(l); err != nil {
		return fmt.Errorf("revive: %w", err)
	}
	if err := unix.Listen(l.FD, backlog(l.Spec)); err != nil {
		return fmt.Errorf("revive %s %s: listen: %w", l.Network, l.Address, err)
	}
	return nil
}

func endpointOf(l Listener) (endpoint, error) {
	return parseEndpoint(l.Address, l.Network == "udp" || l.Network == "unixgram")
}

// socketID is the inode of a socket; unlike an fd number it names the same
// socket in every process.
func socketID(fd int) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, err
	}
	return st.Ino, nil
}
