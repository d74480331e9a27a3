// Package sockdiag asks the kernel about sockets, see sock_diag(7): requests and
// answers as bytes. Whoever asks says what it wants to know, and reads the
// structures of its family.
package sockdiag

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// NoCookie stands for half of the cookie of a socket that is not named by it.
	NoCookie = ^uint32(0)
	// UnixSize is that of struct unix_diag_msg; attributes follow.
	UnixSize = 16

	waitSeconds  = 5 // a guard, the kernel answers at once
	attrTypeMask = 0x3fff
)

// Dump asks about all sockets of this network namespace that the request takes
// (struct inet_diag_req_v2, unix_diag_req), and gives each answer without its
// netlink header. While sockets come and go some may be passed over.
func Dump(request []byte, each func(answer []byte)) error {
	return explain(ask(request, unix.NLM_F_DUMP, each), request[0])
}

// explain says what ENOENT is about where no socket was named: Debian's kernel
// for one has this in modules, and loads them by itself where it may.
func explain(err error, family byte) error {
	if !errors.Is(err, unix.ENOENT) {
		return err
	}
	module := "tcp_diag"
	if family == unix.AF_UNIX {
		module = "unix_diag"
	}
	return fmt.Errorf("%w: the kernel has no %s; load it: modprobe %[2]s", err, module)
}

// One asks about the socket that the request names; ENOENT: there is none.
func One(request []byte, each func(answer []byte)) error { return ask(request, 0, each) }

func ask(request []byte, flags uint16, each func([]byte)) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return fmt.Errorf("open sock_diag: %w", err)
	}
	defer unix.Close(fd)
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: waitSeconds})
	message := make([]byte, unix.SizeofNlMsghdr, unix.SizeofNlMsghdr+len(request))
	binary.NativeEndian.PutUint32(message[0:], uint32(unix.SizeofNlMsghdr+len(request)))
	binary.NativeEndian.PutUint16(message[4:], unix.SOCK_DIAG_BY_FAMILY)
	binary.NativeEndian.PutUint16(message[6:], unix.NLM_F_REQUEST|flags)
	if err := unix.Sendto(fd, append(message, request...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("ask sock_diag: %w", err)
	}
	for buf := make([]byte, 64<<10); ; {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read from sock_diag: %w", err)
		}
		messages, err := syscall.ParseNetlinkMessage(buf[:n])
		if err != nil {
			return fmt.Errorf("read from sock_diag: %w", err)
		}
		for _, m := range messages {
			switch m.Header.Type {
			case unix.NLMSG_DONE, unix.NLMSG_ERROR: // a dump that fails is done with an error
				return answerError(m.Data)
			}
			each(m.Data)
		}
		if flags&unix.NLM_F_DUMP == 0 {
			return nil
		}
	}
}

func answerError(b []byte) error {
	if len(b) < 4 {
		return errors.New("ask sock_diag: an error without a number")
	}
	if errno := -int32(binary.NativeEndian.Uint32(b)); errno != 0 {
		return fmt.Errorf("ask sock_diag: %w", unix.Errno(errno))
	}
	return nil
}

// Unix is a struct unix_diag_req: states and show are sets of bits. All sockets
// are meant where no inode is given (0).
func Unix(states, show, inode uint32) []byte {
	b := make([]byte, 24)
	b[0] = unix.AF_UNIX
	binary.NativeEndian.PutUint32(b[4:], states)
	binary.NativeEndian.PutUint32(b[8:], inode)
	binary.NativeEndian.PutUint32(b[12:], show)
	binary.NativeEndian.PutUint32(b[16:], NoCookie)
	binary.NativeEndian.PutUint32(b[20:], NoCookie)
	return b
}

// Attributes gives each of the netlink attributes behind an answer's structure.
func Attributes(b []byte, each func(kind uint16, data []byte)) {
	for len(b) >= unix.SizeofRtAttr {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofRtAttr || size > len(b) {
			return
		}
		each(binary.NativeEndian.Uint16(b[2:])&attrTypeMask, b[unix.SizeofRtAttr:size])
		b = b[min((size+3)&^3, len(b)):]
	}
}

// Name is what UNIX_DIAG_NAME says: a path, or '@' and an abstract name.
func Name(data []byte) string {
	if len(data) > 0 && data[0] == 0 {
		return "@" + string(data[1:])
	}
	for len(data) > 0 && data[len(data)-1] == 0 {
		data = data[:len(data)-1]
	}
	return string(data)
}
