package ready

import (
	"bytes"
	"strconv"

	"golang.org/x/sys/unix"
)

// wait is how a system call names what it waits on.
type wait int

const (
	waitNone   wait = iota
	waitFD          // args[0] is the socket
	waitEpoll       // args[0] is an epoll
	waitPoll        // args[0] points to args[1] structs pollfd
	waitSelect      // args[1] points to an fd_set of args[0] bits
)

// readable are the events by which a listener or datagram socket has something
// to take: POLLIN and POLLRDNORM, the same bits for poll and epoll. An epoll
// entry that fired once under EPOLLONESHOT has none of them until it is armed
// again.
const readable = unix.POLLIN | 0x40

// waitKind knows the calls that all architectures have; old ones that only
// some have are in a file of that architecture. Reading counts, for a datagram
// socket is waited on so; on a listening one it fails at once.
func waitKind(number int64) wait {
	switch number {
	case unix.SYS_ACCEPT, unix.SYS_ACCEPT4,
		unix.SYS_RECVFROM, unix.SYS_RECVMSG, unix.SYS_RECVMMSG, unix.SYS_READ, unix.SYS_READV:
		return waitFD
	case unix.SYS_EPOLL_PWAIT, unix.SYS_EPOLL_PWAIT2:
		return waitEpoll
	case unix.SYS_PPOLL:
		return waitPoll
	case unix.SYS_PSELECT6:
		return waitSelect
	}
	return oldWaitKind(number)
}

// call is what a thread is blocked in.
type call struct {
	number int64
	args   [6]uint64
}

// parseSyscall reads proc_pid_syscall(5): the number in decimal, six arguments
// in hex, then stack and program counter. A thread that runs ("running") or is
// blocked outside of a call (number -1) waits on nothing.
func parseSyscall(b []byte) (c call, ok bool) {
	field, rest := nextField(b)
	number, err := strconv.ParseInt(string(field), 10, 64)
	if err != nil || number < 0 {
		return call{}, false
	}
	c.number = number
	for i := range c.args {
		field, rest = nextField(rest)
		hex, found := bytes.CutPrefix(field, []byte("0x"))
		if !found {
			return call{}, false
		}
		if c.args[i], err = strconv.ParseUint(string(hex), 16, 64); err != nil {
			return call{}, false
		}
	}
	return c, true
}

func nextField(b []byte) (field, rest []byte) {
	b = bytes.TrimLeft(b, " \t")
	if i := bytes.IndexAny(b, " \t\n"); i >= 0 {
		return b[:i], b[i:]
	}
	return b, nil
}

// target is one file that an epoll watches.
type target struct {
	fd     int // its number when it was added
	events uint32
	inode  uint64
	device uint64
}

// parseTarget reads a line of an epoll's fdinfo (proc_pid_fdinfo(5)):
//
//	tfd:       19 events:       19 data:               13  pos:0 ino:3a31 sdev:9
//
// All but tfd and pos are in hex. Inode and device are there since Linux 4.13.
func parseTarget(line []byte) (t target, ok bool) {
	rest, ok := bytes.CutPrefix(line, []byte("tfd:"))
	if !ok {
		return target{}, false
	}
	field, rest := nextField(rest)
	fd, err := strconv.ParseInt(string(field), 10, 32)
	if err != nil || fd < 0 {
		return target{}, false
	}
	t.fd = int(fd)
	var found int
	for len(rest) > 0 {
		field, rest = nextField(rest)
		key, value, _ := bytes.Cut(field, []byte{':'})
		var bits int
		switch string(key) {
		case "events":
			bits = 32
		case "ino", "sdev":
			bits = 64
		case "":
			rest = bytes.TrimLeft(rest, "\n")
			continue
		default:
			continue
		}
		if len(value) == 0 {
			value, rest = nextField(rest)
		}
		n, err := strconv.ParseUint(string(value), 16, bits)
		if err != nil {
			return target{}, false
		}
		found++
		switch string(key) {
		case "events":
			t.events = uint32(n)
		case "ino":
			t.inode = n
		case "sdev":
			t.device = n
		}
	}
	if found != 3 {
		return target{}, false
	}
	return t, true
}
