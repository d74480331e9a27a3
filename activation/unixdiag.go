package activation

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// unixSocket is what sock_diag(7) tells of one unix socket.
type unixSocket struct {
	inode        uint32 // of the socket
	name         string // as bound: a path, or '@' and an abstract name
	state        uint8
	kind         uint8
	hasFile      bool
	major, minor uint32 // of the file system of the path
	file         uint32 // inode of the path, its lower 32 bits
	queue, limit uint32
}

const (
	diagNoCookie   = ^uint32(0)
	unixDiagSize   = 16 // struct unix_diag_msg
	attrName       = 0  // UNIX_DIAG_NAME
	attrFile       = 1  // UNIX_DIAG_VFS
	attrQueue      = 4  // UNIX_DIAG_RQLEN
	showName       = 1 << 0
	showFile       = 1 << 1
	showQueue      = 1 << 4
	stateEstab     = 1
	stateClose     = 7
	stateListen    = 10
	attrTypeMask   = 0x3fff
	netlinkTimeout = 5 // seconds; a guard, the kernel answers at once
)

// unixSockets asks the kernel for the unix sockets of this network namespace,
// or (inode not 0) for one of them. Unlike the paths in /proc/net/unix the
// answer tells which file a socket is bound to: two sockets can bear one path,
// when the older lost it.
func unixSockets(inode uint64) ([]unixSocket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, fmt.Errorf("open sock_diag: %w", err)
	}
	defer unix.Close(fd)
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: netlinkTimeout})

	le := binary.NativeEndian
	req := make([]byte, unix.SizeofNlMsghdr+24) // struct unix_diag_req
	flags := uint16(unix.NLM_F_REQUEST)
	if inode == 0 {
		flags |= unix.NLM_F_DUMP
	}
	le.PutUint32(req[0:], uint32(len(req)))
	le.PutUint16(req[4:], unix.SOCK_DIAG_BY_FAMILY)
	le.PutUint16(req[6:], flags)
	body := req[unix.SizeofNlMsghdr:]
	body[0] = unix.AF_UNIX
	le.PutUint32(body[4:], 1<<stateListen|1<<stateClose|1<<stateEstab)
	le.PutUint32(body[8:], uint32(inode))
	le.PutUint32(body[12:], showName|showFile|showQueue)
	le.PutUint32(body[16:], diagNoCookie)
	le.PutUint32(body[20:], diagNoCookie)
	if err := unix.Sendto(fd, req, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, fmt.Errorf("ask sock_diag: %w", err)
	}

	var sockets []unixSocket
	buf := make([]byte, 64<<10)
	for {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		} else if err != nil {
			return nil, fmt.Errorf("read from sock_diag: %w", err)
		}
		messages, err := syscall.ParseNetlinkMessage(buf[:n])
		if err != nil {
			return nil, fmt.Errorf("read from sock_diag: %w", err)
		}
		for _, m := range messages {
			switch m.Header.Type {
			case unix.NLMSG_DONE:
				return sockets, nil
			case unix.NLMSG_ERROR:
				if len(m.Data) >= 4 {
					if e := int32(le.Uint32(m.Data)); e != 0 {
						return nil, fmt.Errorf("ask sock_diag: %w", unix.Errno(-e))
					}
				}
				return sockets, nil
			}
			if s, ok := parseUnixDiag(m.Data); ok {
				sockets = append(sockets, s)
			}
		}
		if inode != 0 {
			return sockets, nil
		}
	}
}

// parseUnixDiag reads struct unix_diag_msg and its attributes.
func parseUnixDiag(b []byte) (unixSocket, bool) {
	if len(b) < unixDiagSize {
		return unixSocket{}, false
	}
	ne := binary.NativeEndian
	s := unixSocket{kind: b[1], state: b[2], inode: ne.Uint32(b[4:])}
	for b = b[unixDiagSize:]; len(b) >= unix.SizeofRtAttr; {
		size := int(ne.Uint16(b))
		if size < unix.SizeofRtAttr || size > len(b) {
			break
		}
		data := b[unix.SizeofRtAttr:size]
		switch kind := ne.Uint16(b[2:]) & attrTypeMask; {
		case kind == attrName && len(data) > 0 && data[0] == 0:
			s.name = "@" + string(data[1:])
		case kind == attrName:
			s.name = string(trimNUL(data))
		case kind == attrFile && len(data) >= 8:
			// The device in the kernel's own encoding: 12 bits and 20 bits.
			dev := ne.Uint32(data[4:])
			s.hasFile, s.file, s.major, s.minor = true, ne.Uint32(data), dev>>20, dev&(1<<20-1)
		case kind == attrQueue && len(data) >= 8:
			s.queue, s.limit = ne.Uint32(data), ne.Uint32(data[4:])
		}
		b = b[min((size+3)&^3, len(b)):]
	}
	return s, true
}

func trimNUL(b []byte) []byte {
	for len(b) > 0 && b[len(b)-1] == 0 {
		b = b[:len(b)-1]
	}
	return b
}

// boundTo reports whether the socket's path is the file of st. Some file
// systems show stat(2) another device than the kernel uses inside (btrfs,
// overlayfs): there the path as bound must agree instead.
func (s unixSocket) boundTo(st *unix.Stat_t, path string) bool {
	if !s.hasFile || s.file != uint32(st.Ino) {
		return false
	}
	return s.name == path || s.major == unix.Major(st.Dev) && s.minor == unix.Minor(st.Dev)
}

// accepting leaves out accepted connections, which bear the path of their
// listener.
func (s unixSocket) accepting() bool { return s.kind == unix.SOCK_DGRAM || s.state != stateEstab }
