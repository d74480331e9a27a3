package ready

import (
	"encoding/binary"
	"errors"
	"os"
	"strconv"
	"strings"
)

const (
	// maxThreads and maxDescriptors bound a look. An event loop is made
	// early in a process's life, by its first threads and with low numbers.
	maxThreads     = 512
	maxDescriptors = 1024
	// maxPolled bounds what is read of the arguments of one poll or select.
	maxPolled = 1024
)

// visit is a look at one process.
type visit struct {
	process
	looker   *looker
	findings *findings
	// listed: an epoll has the socket, though not under a number that leads
	// to it now.
	listed bool
	holds  bool         // one of its own descriptors is the socket
	epolls map[int]bool // looked at already
}

// threads looks for a thread that sits in a system call waiting on a socket.
// It finds most workers, at the price of a few small files.
func (v *visit) threads() error {
	var denied error
	seen := 0
	err := v.numbers("task", func(tid int) bool {
		b, err := v.read("task/" + strconv.Itoa(tid) + "/syscall")
		switch {
		case err == nil:
			if c, ok := parseSyscall(b); ok {
				v.findings.waiting = v.waits(c)
			}
		case !errors.Is(err, os.ErrProcessDone): // one thread may end
			denied = err
		}
		seen++
		return !v.findings.waiting && denied == nil && seen < maxThreads
	})
	return errors.Join(err, denied)
}

// waits says whether a thread in call c waits on one of the sockets.
func (v *visit) waits(c call) bool {
	switch waitKind(c.number) {
	case waitFD:
		return v.ours(int(int32(c.args[0])))
	case waitEpoll:
		return v.epoll(int(int32(c.args[0])))
	case waitPoll:
		return v.poll(c.args[0], c.args[1])
	case waitSelect:
		return v.selects(c.args[1], int(int32(c.args[0])))
	}
	return false
}

// ours says whether descriptor fd of the process is one of the sockets.
func (v *visit) ours(fd int) bool {
	if fd < 0 {
		return false
	}
	link, err := v.link(fd)
	if err != nil {
		return false
	}
	inode, ok := socketInode(link)
	if !ok || !v.looker.sockets[inode] {
		return false
	}
	v.findings.held = true
	return true
}

// epoll says whether epoll fd has one of the sockets, armed for reading.
func (v *visit) epoll(fd int) bool {
	if v.epolls[fd] {
		return false
	}
	if v.epolls == nil {
		v.epolls = make(map[int]bool)
	}
	v.epolls[fd] = true
	found := false
	// An error means that the descriptor was closed meanwhile.
	_ = v.lines("fdinfo/"+strconv.Itoa(fd), func(line []byte) bool {
		t, ok := parseTarget(line)
		if !ok || t.events&readable == 0 || t.device != v.looker.sockfs || !v.looker.sockets[t.inode] {
			return true
		}
		// An epoll keeps a socket that was closed without being removed
		// from it, for the master has the same one open: the process must
		// hold the socket too.
		v.listed = true
		found = v.ours(t.fd)
		return !found
	})
	return found
}

// poll says whether the array of n pollfd at address asks for one of the
// sockets (struct pollfd in poll(2): int, short, short).
func (v *visit) poll(address, n uint64) bool {
	if n == 0 || address == 0 {
		return false
	}
	b, err := v.memory(address, 8*int(min(n, maxPolled)))
	if err != nil {
		return false
	}
	for ; len(b) >= 8; b = b[8:] {
		events := binary.NativeEndian.Uint16(b[4:])
		if events&readable != 0 && v.ours(int(int32(binary.NativeEndian.Uint32(b)))) {
			return true
		}
	}
	return false
}

// selects says whether the fd_set at address has one of the sockets below n.
func (v *visit) selects(address uint64, n int) bool {
	n = min(n, maxPolled)
	if n <= 0 || address == 0 {
		return false
	}
	b, err := v.memory(address, (n+63)/64*8)
	if err != nil {
		return false
	}
	for fd := range min(n, 8*len(b)) {
		// An array of longs; both architectures are little-endian, so the
		// bits are in the order of the bytes.
		if b[fd/8]&(1<<(fd%8)) != 0 && v.ours(fd) {
			return true
		}
	}
	return false
}

// descriptors looks at every open file, for an event loop that is busy at this
// moment, and gathers what explains a worker that does not wait.
func (v *visit) descriptors() error {
	seen := 0
	err := v.numbers("fd", func(fd int) bool {
		link, err := v.link(fd)
		inode, socket := socketInode(link)
		switch {
		case err != nil: // closed meanwhile
		case socket && v.looker.sockets[inode]:
			v.findings.held = true
			v.holds = true
		case socket:
			v.findings.others = append(v.findings.others, inode)
		case link == "anon_inode:[eventpoll]":
			v.findings.waiting = v.epoll(fd)
		case link == "anon_inode:[io_uring]":
			v.findings.uring = true
		}
		seen++
		return !v.findings.waiting && seen < maxDescriptors
	})
	if v.listed && v.holds {
		v.findings.waiting = true
	}
	return err
}

// socketInode reads the inode of "socket:[123]".
func socketInode(link string) (uint64, bool) {
	s, ok := strings.CutPrefix(link, "socket:[")
	if !ok {
		return 0, false
	}
	s, ok = strings.CutSuffix(s, "]")
	if !ok {
		return 0, false
	}
	inode, err := strconv.ParseUint(s, 10, 64)
	return inode, err == nil
}
