package unread

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The numbers are those of linux/inet_diag.h, linux/unix_diag.h and the states
// of TCP, which unix sockets have too.
const (
	established  = 1
	closeWait    = 8
	inetInfo     = 2 // INET_DIAG_INFO
	unixName     = 0
	unixQueue    = 4
	unixShow     = 1<<0 | 1<<4 // name and queue
	inetSize     = 72          // struct inet_diag_msg
	unixSize     = 16          // struct unix_diag_msg
	noCookie     = ^uint32(0)
	attrTypeMask = 0x3fff
	waitSeconds  = 5 // a guard, the kernel answers at once
)

var native = binary.NativeEndian

// connections lists those of a listener that have been accepted and have bytes
// to read.
func connections(l Listener) ([]conn, error) {
	switch l.Network {
	case "tcp":
		at, err := netip.ParseAddrPort(l.Address)
		if err != nil {
			return nil, fmt.Errorf("look for unread connections: %w", err)
		}
		return dump(inetRequest(at), parseInet)
	case "unix":
		return dump(unixRequest(), func(b []byte) (conn, bool) { return parseUnix(b, l.Address) })
	}
	return nil, nil
}

// again looks at one unix connection that was seen before. A dump passes over
// some when others come and go meanwhile.
func again(c conn) (conn, bool) {
	b := unixRequest()
	native.PutUint32(b[8:], c.inode)
	native.PutUint64(b[16:], c.cookie)
	found, err := ask(b, 0, func(b []byte) (conn, bool) { return parseUnix(b, c.name) })
	if err != nil || len(found) == 0 {
		return conn{}, false // it is gone, or all of it has been read
	}
	return found[0], true
}

// inetRequest is a struct inet_diag_req_v2 for the port.
func inetRequest(at netip.AddrPort) []byte {
	b := make([]byte, 56)
	b[0] = unix.AF_INET6
	if at.Addr().Is4() {
		b[0] = unix.AF_INET
	}
	b[1], b[2] = unix.IPPROTO_TCP, 1<<(inetInfo-1)
	native.PutUint32(b[4:], 1<<established|1<<closeWait)
	binary.BigEndian.PutUint16(b[8:], at.Port())
	native.PutUint32(b[48:], noCookie)
	native.PutUint32(b[52:], noCookie)
	return b
}

// unixRequest is a struct unix_diag_req.
func unixRequest() []byte {
	b := make([]byte, 24)
	b[0] = unix.AF_UNIX
	native.PutUint32(b[4:], 1<<established)
	native.PutUint32(b[12:], unixShow)
	native.PutUint32(b[16:], noCookie)
	native.PutUint32(b[20:], noCookie)
	return b
}

// dump asks for all sockets of a kind in this network namespace.
func dump(body []byte, parse func([]byte) (conn, bool)) ([]conn, error) {
	return ask(body, unix.NLM_F_DUMP, parse)
}

// ask asks for all sockets, or without NLM_F_DUMP for one.
func ask(body []byte, flags uint16, parse func([]byte) (conn, bool)) ([]conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, fmt.Errorf("open sock_diag: %w", err)
	}
	defer unix.Close(fd)
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: waitSeconds})
	req := make([]byte, unix.SizeofNlMsghdr, unix.SizeofNlMsghdr+len(body))
	native.PutUint32(req[0:], uint32(unix.SizeofNlMsghdr+len(body)))
	native.PutUint16(req[4:], unix.SOCK_DIAG_BY_FAMILY)
	native.PutUint16(req[6:], unix.NLM_F_REQUEST|flags)
	if err := unix.Sendto(fd, append(req, body...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, fmt.Errorf("ask sock_diag: %w", err)
	}
	var all []conn
	buf := make([]byte, 64<<10)
	for {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read from sock_diag: %w", err)
		}
		messages, err := syscall.ParseNetlinkMessage(buf[:n])
		if err != nil {
			return nil, fmt.Errorf("read from sock_diag: %w", err)
		}
		for _, m := range messages {
			switch m.Header.Type {
			case unix.NLMSG_DONE:
				return all, nil
			case unix.NLMSG_ERROR:
				if len(m.Data) < 4 {
					return nil, errors.New("ask sock_diag: an error without a number")
				}
				return nil, fmt.Errorf("ask sock_diag: %w", unix.Errno(-int32(native.Uint32(m.Data))))
			}
			if c, ok := parse(m.Data); ok {
				all = append(all, c)
			}
		}
		if flags&unix.NLM_F_DUMP == 0 {
			return all, nil
		}
	}
}

// takenOffset is where struct tcp_info counts what has come.
const takenOffset = unsafe.Offsetof(unix.TCPInfo{}.Bytes_received)

// parseInet reads struct inet_diag_msg. A FIN that has come counts as a byte
// there, and is none that anybody waits for an answer to. A connection that
// nobody has accepted yet has no inode.
func parseInet(b []byte) (conn, bool) {
	if len(b) < inetSize {
		return conn{}, false
	}
	c := conn{cookie: native.Uint64(b[44:]), waiting: native.Uint32(b[56:]), inode: native.Uint32(b[68:])}
	if b[1] == closeWait && c.waiting > 0 {
		c.waiting--
	}
	attributes(b[inetSize:], func(kind uint16, data []byte) {
		if kind == inetInfo && len(data) >= int(takenOffset)+8 {
			c.taken = native.Uint64(data[takenOffset:]) - uint64(c.waiting)
		}
	})
	return c, c.waiting > 0 && c.inode != 0
}

// parseUnix reads struct unix_diag_msg; the name of an accepted connection is
// that of its listener.
func parseUnix(b []byte, name string) (conn, bool) {
	if len(b) < unixSize {
		return conn{}, false
	}
	c := conn{inode: native.Uint32(b[4:]), cookie: native.Uint64(b[8:]), name: name}
	named := false
	attributes(b[unixSize:], func(kind uint16, data []byte) {
		switch {
		case kind == unixName && len(data) > 0 && data[0] == 0:
			named = "@"+string(data[1:]) == name
		case kind == unixName:
			named = strings.TrimRight(string(data), "\x00") == name
		case kind == unixQueue && len(data) >= 4:
			c.waiting = native.Uint32(data)
		}
	})
	return c, named && c.waiting > 0 && c.inode != 0
}

func attributes(b []byte, each func(kind uint16, data []byte)) {
	for len(b) >= unix.SizeofRtAttr {
		size := int(native.Uint16(b))
		if size < unix.SizeofRtAttr || size > len(b) {
			return
		}
		each(native.Uint16(b[2:])&attrTypeMask, b[unix.SizeofRtAttr:size])
		b = b[min((size+3)&^3, len(b)):]
	}
}
