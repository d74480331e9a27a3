package activation

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Inherited is one fd of the LISTEN_* protocol, from a .socket unit, the fd
// store or OpenFile=, under its name in LISTEN_FDNAMES.
type Inherited struct {
	Name string
	FD   int
}

// firstFD is SD_LISTEN_FDS_START.
const firstFD = 3

// FromEnv reads LISTEN_PID, LISTEN_PIDFDID, LISTEN_FDS and LISTEN_FDNAMES by
// the rules of sd_listen_fds(3); lookup is os.LookupEnv, pid the own one. A set
// that is absent or meant for another process is none, without error. A set for
// this process that is malformed is an error: going on without the sockets
// would mean binding them a second time, or serving on the wrong ones. The fds
// become close-on-exec; nothing else is changed.
func FromEnv(lookup func(string) (string, bool), pid int) ([]Inherited, error) {
	listenPID, set := lookup("LISTEN_PID")
	if !set {
		return nil, nil
	}
	if n, err := strconv.ParseUint(listenPID, 10, 31); err != nil || n == 0 {
		return nil, fmt.Errorf("LISTEN_PID=%q is not a process number", listenPID)
	} else if int(n) != pid {
		return nil, nil
	}
	if id, set := lookup("LISTEN_PIDFDID"); set {
		want, err := strconv.ParseUint(id, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("LISTEN_PIDFDID=%q is not a number", id)
		}
		if own, known := pidfdID(pid); known && own != want {
			return nil, nil // the number of a process that is gone, given again
		}
	}
	count, set := lookup("LISTEN_FDS")
	if !set {
		return nil, errors.New("LISTEN_PID is set for this process, but LISTEN_FDS is missing")
	}
	names, named := lookup("LISTEN_FDNAMES")
	fds, err := parseFDs(count, names, named)
	if err != nil {
		return nil, err
	}
	for _, f := range fds {
		flags, err := unix.FcntlInt(uintptr(f.FD), unix.F_GETFD, 0)
		if err == nil && flags&unix.FD_CLOEXEC != 0 {
			// No such fd comes through an exec: the number was free, and the
			// runtime has opened something of its own there.
			err = unix.EBADF
		}
		if err != nil {
			return nil, fmt.Errorf("LISTEN_FDS=%s, but fd %d is not open: %w", count, f.FD, err)
		}
	}
	for _, f := range fds {
		unix.CloseOnExec(f.FD)
	}
	return fds, nil
}

// parseFDs joins the count with the names. Without names all are "unknown", as
// in sd_listen_fds_with_names(3).
func parseFDs(count, names string, named bool) ([]Inherited, error) {
	n, err := strconv.ParseUint(count, 10, 31)
	if err != nil || n == 0 {
		return nil, fmt.Errorf("LISTEN_FDS=%q is not a count of file descriptors", count)
	}
	if n > maxFDs {
		return nil, fmt.Errorf("LISTEN_FDS=%q is more than a process can have open", count)
	}
	var list []string
	if named {
		list = strings.Split(names, ":")
		if uint64(len(list)) != n {
			return nil, fmt.Errorf("LISTEN_FDS=%s, but LISTEN_FDNAMES=%q has %d names", count, names, len(list))
		}
		for _, name := range list {
			if err := checkFDName(name); err != nil {
				return nil, fmt.Errorf("LISTEN_FDNAMES: %w", err)
			}
		}
	}
	fds := make([]Inherited, n)
	for i := range fds {
		fds[i] = Inherited{Name: "unknown", FD: firstFD + i}
		if named {
			fds[i].Name = list[i]
		}
	}
	return fds, nil
}

// maxFDs is the kernel's hard ceiling (sysctl fs.nr_open cannot pass it on
// 64 bits); it keeps a nonsense count from becoming a large allocation.
const maxFDs = 1 << 20

// pidfdID is the inode of the process's pidfd, which is never used twice while
// the machine runs. Kernels before 6.9 have no such number.
func pidfdID(pid int) (id uint64, known bool) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return 0, false
	}
	defer unix.Close(fd)
	var fs unix.Statfs_t
	var st unix.Stat_t
	if unix.Fstatfs(fd, &fs) != nil || fs.Type != unix.PID_FS_MAGIC || unix.Fstat(fd, &st) != nil {
		return 0, false
	}
	return st.Ino, true
}
