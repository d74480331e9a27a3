package proc

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"fugue/internal/launch"
)

// runtimeSignals belong to the Go runtime, or to nobody.
var runtimeSignals = []unix.Signal{unix.SIGILL, unix.SIGTRAP, unix.SIGBUS, unix.SIGFPE, unix.SIGSEGV,
	unix.SIGSTKFLT, unix.SIGCHLD, unix.SIGPROF, unix.SIGURG, unix.SIGSYS, unix.SIGKILL, unix.SIGSTOP}

// EnsureBlocked returns if this process was born with the signals blocked, as
// signalfd(2) needs it in every thread. Otherwise it blocks them and executes
// the running image anew, with the same arguments and environment, as the same
// process: a Go process that blocks signals later has threads that take them,
// and loses them at an exec. It belongs at the very start of a program, before
// anything is open that an exec would close. HUP, INT, QUIT, ABRT and TERM may
// be in the set and are passed over: Go cannot block them, see Signals. Package
// launch has seen to most masters already, sooner and so cheaper.
func EnsureBlocked(signals []unix.Signal) error {
	want := unix.Sigset_t{}
	for _, sig := range signals {
		if slices.Contains(runtimeSignals, sig) {
			return fmt.Errorf("block %s: the Go runtime needs it or nobody can", signalName(sig))
		}
		if !isCaught(sig) {
			want = union(want, sigset(sig))
		}
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := unix.Sigset_t{}
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &want, &before); err != nil {
		return fmt.Errorf("block signals: %w", err)
	}
	if union(want, before) == before {
		return nil
	}
	err := syscall.Exec(launch.Image(), os.Args, os.Environ())
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil)
	return fmt.Errorf("start anew with signals blocked: %w", err)
}

func sigset(sig unix.Signal) (s unix.Sigset_t) {
	s.Val[(sig-1)/64] = 1 << ((sig - 1) % 64)
	return s
}

func union(a, b unix.Sigset_t) unix.Sigset_t {
	for i := range a.Val {
		a.Val[i] |= b.Val[i]
	}
	return a
}

func fullSet() (s unix.Sigset_t) {
	for i := range s.Val {
		s.Val[i] = ^uint64(0)
	}
	return s
}

func signalName(sig unix.Signal) string {
	if name := unix.SignalName(sig); name != "" {
		return name
	}
	return fmt.Sprintf("signal %d", int(sig))
}
