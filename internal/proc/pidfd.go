package proc

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A pidfd is parked in the netpoller: waiting for it costs a goroutine and no
// thread.
type pidfd struct {
	fd   int
	file *os.File
	conn syscall.RawConn
}

// newPidfd takes over fd, in failure too.
func newPidfd(fd int) (*pidfd, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("make a pidfd non-blocking: %w", err)
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	conn, err := f.SyscallConn()
	if err == nil {
		err = f.SetReadDeadline(time.Time{}) // fails if the netpoller could not take it
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("watch a pidfd: %w", err)
	}
	return &pidfd{fd: fd, file: f, conn: conn}, nil
}

func (p *pidfd) close() {
	_ = p.file.Close()
	p.fd = -1
}

// wait returns when poll(2) shows the event, or at the deadline (the zero time
// is never). POLLIN is the end of the process with all its threads, POLLHUP
// that it has been reaped.
func (p *pidfd) wait(deadline time.Time, event int16) bool {
	_ = p.file.SetReadDeadline(deadline)
	return p.conn.Read(func(fd uintptr) bool { return polled(int(fd), event) }) == nil
}

// ended reports whether the process is a zombie or gone.
func (p *pidfd) ended() bool { return polled(p.fd, unix.POLLIN) }

// polled never waits, and is a raw call for that: in an ordinary one the
// scheduler suspects a wait when the machine is busy, and starts a thread for
// the others, in the end one for each child that exits.
func polled(fd int, event int16) bool {
	p, now := unix.PollFd{Fd: int32(fd), Events: event}, unix.Timespec{}
	for {
		_, _, errno := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1,
			uintptr(unsafe.Pointer(&now)), 0, 0, 0)
		if errno != unix.EINTR {
			return errno == 0 && p.Revents&event != 0
		}
	}
}

// sendSignal takes an end for granted: it is no error that it came first.
func sendSignal(fd int, sig unix.Signal) error {
	err := unix.PidfdSendSignal(fd, sig, nil, 0)
	if sig != 0 && errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

// siginfo is siginfo_t as waitid(2) fills it on 64-bit Linux.
type siginfo struct {
	signo, errno, code, _ int32
	pid                   int32
	uid                   uint32
	status                int32
	_                     [100]byte
}

// Codes of SIGCHLD, see sigaction(2).
const (
	cldExited = 1
	cldDumped = 3
)

func (p *pidfd) waitid(options uintptr) (siginfo, error) {
	var si siginfo
	for {
		_, _, errno := unix.RawSyscall6(unix.SYS_WAITID, unix.P_PIDFD, uintptr(p.fd),
			uintptr(unsafe.Pointer(&si)), unix.WEXITED|unix.WNOHANG|options, 0, 0)
		switch errno {
		case 0:
			return si, nil
		case unix.EINTR:
		default:
			return si, errno
		}
	}
}

// ours reports whether the process is an unreaped child of this process: until
// we reap it, its number, and its group's, cannot pass to another.
func (p *pidfd) ours() bool {
	_, err := p.waitid(unix.WNOWAIT)
	return err == nil
}

var errRuns = errors.New("it has not ended yet")

// reap fails with ECHILD if the process is not, or no longer, our child.
func (p *pidfd) reap() (Exit, error) {
	si, err := p.waitid(0)
	switch {
	case err != nil:
		return Exit{}, err
	case si.pid == 0:
		return Exit{}, errRuns
	case si.code == cldExited:
		return Exit{Code: int(si.status)}, nil
	}
	return Exit{Signal: unix.Signal(si.status), Core: si.code == cldDumped}, nil
}

// pidfdInfo is struct pidfd_info of <linux/pidfd.h> in its first published
// size; newer kernels fill what they are given.
type pidfdInfo struct {
	mask     uint64
	_        [52]byte
	exitCode int32
}

const (
	pidfdGetInfo  = 0xC040FF0B // _IOWR(0xFF, 11, 64 bytes)
	pidfdInfoExit = 1 << 3
)

// info asks the kernel how a process ended that another has reaped.
func (p *pidfd) info() (Exit, error) {
	if !p.ended() {
		return Exit{}, errRuns
	}
	in := pidfdInfo{mask: pidfdInfoExit}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(p.fd), pidfdGetInfo, uintptr(unsafe.Pointer(&in)))
	if errno != 0 || in.mask&pidfdInfoExit == 0 {
		return Exit{Unknown: true}, nil
	}
	ws := unix.WaitStatus(in.exitCode)
	if ws.Exited() {
		return Exit{Code: ws.ExitStatus()}, nil
	}
	return Exit{Signal: ws.Signal(), Core: ws.CoreDump()}, nil
}
