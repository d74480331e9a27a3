package unread

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"

	"fugue/internal/sockdiag"
)

// The numbers are those of linux/inet_diag.h, linux/unix_diag.h and the states
// of TCP, which unix sockets have too.
const (
	established = 1
	closeWait   = 8
	inetInfo    = 2 // INET_DIAG_INFO
	unixName    = 0
	unixQueue   = 4
	unixShow    = 1<<0 | 1<<4 // name and queue
	inetSize    = 72          // struct inet_diag_msg
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
		return all(sockdiag.Dump, inetRequest(at), parseInet)
	case "unix":
		return all(sockdiag.Dump, sockdiag.Unix(1<<established, unixShow, 0), func(b []byte) (conn, bool) { return parseUnix(b, l.Address) })
	}
	return nil, nil
}

// all are the connections in the answers to one request.
func all(ask func([]byte, func([]byte)) error, request []byte, parse func([]byte) (conn, bool)) (list []conn, err error) {
	err = ask(request, func(b []byte) {
		if c, ok := parse(b); ok {
			list = append(list, c)
		}
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// again looks at one unix connection that was seen before. A dump passes over
// some when others come and go meanwhile.
func again(c conn) (conn, bool) {
	request := sockdiag.Unix(1<<established, unixShow, c.inode)
	native.PutUint64(request[16:], c.cookie)
	found, err := all(sockdiag.One, request, func(b []byte) (conn, bool) { return parseUnix(b, c.name) })
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
	native.PutUint32(b[48:], sockdiag.NoCookie)
	native.PutUint32(b[52:], sockdiag.NoCookie)
	return b
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
	sockdiag.Attributes(b[inetSize:], func(kind uint16, data []byte) {
		if kind == inetInfo && len(data) >= int(takenOffset)+8 {
			c.taken = native.Uint64(data[takenOffset:]) - uint64(c.waiting)
		}
	})
	return c, c.waiting > 0 && c.inode != 0
}

// parseUnix reads struct unix_diag_msg; the name of an accepted connection is
// that of its listener.
func parseUnix(b []byte, name string) (conn, bool) {
	if len(b) < sockdiag.UnixSize {
		return conn{}, false
	}
	c := conn{inode: native.Uint32(b[4:]), cookie: native.Uint64(b[8:]), name: name}
	named := false
	sockdiag.Attributes(b[sockdiag.UnixSize:], func(kind uint16, data []byte) {
		switch {
		case kind == unixName:
			named = sockdiag.Name(data) == name
		case kind == unixQueue && len(data) >= 4:
			c.waiting = native.Uint32(data)
		}
	})
	return c, named && c.waiting > 0 && c.inode != 0
}
