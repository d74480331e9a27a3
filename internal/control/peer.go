package control

import (
	"fmt"
	"net"
	"os"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Principals is a set of users, known by uid or by any of their groups.
type Principals struct {
	Everyone bool
	UIDs     []int
	GIDs     []int
}

// Access says who may do what. Root and the master's own uid may do everything.
type Access struct {
	Writers Principals // may do everything
	Readers Principals // may GET
	// IsWorker is asked once for each connection, from any goroutine, whether
	// the peer is a worker (or a child of one): such a peer gets nothing,
	// whatever its uid. So does everybody when that cannot be told any more,
	// and is told to ask again. nil knows no workers.
	IsWorker func(pid int) (bool, error)
}

// right is what a peer may do.
type right int

const (
	nothing right = iota
	reading
	everything
)

// peer is who the kernel says connected (unix(7)): its credentials at the time.
type peer struct {
	pid, uid int
	gids     []int
}

// right judges a peer; why is what stands against nothing or reading.
func (a Access) right(p peer) (r right, why *Error) {
	if a.IsWorker != nil && p.pid > 0 {
		worker, err := a.IsWorker(p.pid)
		if err != nil {
			return nothing, Errorf(ExitNoAnswer, "the master is ending: %w", err)
		}
		if worker {
			return nothing, Errorf(ExitDenied, "pid %d is a worker of this pool: workers may not control it", p.pid)
		}
	}
	switch {
	case p.uid == 0 || p.uid == os.Geteuid() || a.Writers.have(p):
		return everything, nil
	case a.Readers.have(p):
		return reading, Errorf(ExitDenied, "uid %d may look but not change anything", p.uid)
	}
	return nothing, Errorf(ExitDenied, "uid %d may not control this pool", p.uid)
}

func (s Principals) have(p peer) bool {
	return s.Everyone || slices.Contains(s.UIDs, p.uid) ||
		slices.ContainsFunc(p.gids, func(g int) bool { return slices.Contains(s.GIDs, g) })
}

func peerOf(c *net.UnixConn) (peer, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return peer{}, err
	}
	var p peer
	var credErr error
	err = raw.Control(func(fd uintptr) {
		var cred *unix.Ucred
		if cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); credErr != nil {
			return
		}
		p = peer{pid: int(cred.Pid), uid: int(cred.Uid), gids: []int{int(cred.Gid)}}
		var more []int
		more, credErr = peerGroups(fd)
		p.gids = append(p.gids, more...)
	})
	if err == nil {
		err = credErr
	}
	if err != nil {
		return peer{}, fmt.Errorf("ask who connected: %w", err)
	}
	return p, nil
}

// peerGroups are the peer's supplementary groups (SO_PEERGROUPS, Linux 4.13).
func peerGroups(fd uintptr) ([]int, error) {
	for buf := make([]uint32, 64); ; {
		size := uint32(len(buf) * 4)
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&buf[0])), uintptr(unsafe.Pointer(&size)), 0)
		switch {
		case errno == unix.ERANGE && int(size) > len(buf)*4: // size is what it takes
			buf = make([]uint32, size/4)
		case errno != 0:
			return nil, errno
		default:
			gids := make([]int, size/4)
			for i := range gids {
				gids[i] = int(buf[i])
			}
			return gids, nil
		}
	}
}
