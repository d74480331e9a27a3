package handover

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The requests of ptrace(2) that package unix has not, or not with their data.

// siginfo is the kernel's siginfo_t, whole: it is given back as it was.
type siginfo struct {
	signo, errno, code int32
	_                  int32
	pid                int32 // of the sender, for the codes of kill(2) and the like
	_                  [108]byte
}

func ptrace(request, tid int, addr, data uintptr) error {
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, uintptr(request), uintptr(tid), addr, data, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// seize begins to trace a thread without stopping it. New threads are traced
// from their birth, and an exec is told. The thread goes on when we die.
func seize(tid int) error {
	return ptrace(unix.PTRACE_SEIZE, tid, 0, unix.PTRACE_O_TRACECLONE|unix.PTRACE_O_TRACEEXEC)
}

func interrupt(tid int) error { return ptrace(unix.PTRACE_INTERRUPT, tid, 0, 0) }

// listen leaves a thread stopped as SIGSTOP made it; SIGCONT is told.
func listen(tid int) error { return ptrace(unix.PTRACE_LISTEN, tid, 0, 0) }

// goOn lets a stopped thread run, with a signal or 0.
func goOn(tid int, sig unix.Signal) error { return ptrace(unix.PTRACE_CONT, tid, 0, uintptr(sig)) }

// ptraceMemory is for requests with a pointer to data.
func ptraceMemory(request, tid int, size uintptr, data unsafe.Pointer) error {
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, uintptr(request), uintptr(tid), size, uintptr(data), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

func getSiginfo(tid int) (si siginfo, err error) {
	err = ptraceMemory(unix.PTRACE_GETSIGINFO, tid, 0, unsafe.Pointer(&si))
	return si, err
}

func setSiginfo(tid int, si siginfo) error {
	return ptraceMemory(unix.PTRACE_SETSIGINFO, tid, 0, unsafe.Pointer(&si))
}

// The kernel's signal mask has 64 bits, signal 1 in the lowest.
func getMask(tid int) (mask uint64, err error) {
	err = ptraceMemory(unix.PTRACE_GETSIGMASK, tid, unsafe.Sizeof(mask), unsafe.Pointer(&mask))
	return mask, err
}

func setMask(tid int, mask uint64) error {
	return ptraceMemory(unix.PTRACE_SETSIGMASK, tid, unsafe.Sizeof(mask), unsafe.Pointer(&mask))
}

// refused puts an errno of seize into words.
func refused(tid int, err error) error {
	return fmt.Errorf("trace thread %d: %w (what may forbid it: a debugger that traces it already, "+
		"kernel.yama.ptrace_scope=3, a seccomp filter such as SystemCallFilter= without @debug, a binary with file capabilities)", tid, err)
}
