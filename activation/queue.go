package activation

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Queue tells how much waits at a socket and how much may. Units differ:
//   - tcp, unix, unixpacket: connections not yet accepted, and the backlog in
//     force (the kernel lets one more in);
//   - udp: bytes of buffer in use and SO_RCVBUF, both as the kernel accounts
//     them, that is with its overhead;
//   - unixgram: bytes of the next datagram; the limit (net.unix.max_dgram_qlen
//     datagrams) is not in the same unit and given as 0.
func Queue(l Listener) (now, limit int, err error) {
	switch l.Network {
	case "tcp":
		info, err := unix.GetsockoptTCPInfo(l.FD, unix.SOL_TCP, unix.TCP_INFO)
		if err != nil {
			return 0, 0, fmt.Errorf("read the queue of %s: %w", l.Address, err)
		}
		return int(info.Unacked), int(info.Sacked), nil // so on a listener, tcp_get_info
	case "udp":
		var mem [skMeminfoVars]uint32
		size := uint32(unsafe.Sizeof(mem))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(l.FD), unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&mem)), uintptr(unsafe.Pointer(&size)), 0)
		if errno != 0 {
			return 0, 0, fmt.Errorf("read the queue of %s: %w", l.Address, errno)
		}
		return int(mem[0]), int(mem[1]), nil // SK_MEMINFO_RMEM_ALLOC, SK_MEMINFO_RCVBUF
	case "unix", "unixpacket", "unixgram":
		found, err := unixSockets(l.Inode)
		if err != nil {
			return 0, 0, fmt.Errorf("read the queue of %s: %w", l.Address, err)
		}
		if len(found) != 1 {
			return 0, 0, fmt.Errorf("read the queue of %s: sock_diag does not know the socket", l.Address)
		}
		if l.Network == "unixgram" {
			return int(found[0].queue), 0, nil
		}
		return int(found[0].queue), int(found[0].limit), nil
	}
	return 0, 0, fmt.Errorf("read the queue of %s: not a kind of socket that has one", l.Address)
}

const skMeminfoVars = 9 // SK_MEMINFO_VARS, linux/sock_diag.h
