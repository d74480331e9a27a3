package proc

import (
	"fmt"
	"syscall"

	"fugue/internal/launch"
)

// A Spec is what a child starts with.
type Spec struct {
	Plan launch.Plan
	// Name appears in process lists until the command is executed, as
	// "fugue: starting NAME".
	Name string
	// Stdin, Stdout and Stderr are raw descriptors; -1 is /dev/null. None of
	// them, nor Files, is closed or changed: not O_NONBLOCK either, which
	// belongs to the description that all workers share.
	Stdin, Stdout, Stderr int
	// Files become descriptors 3, 4, … of the child.
	Files []int
	// CgroupFD is the directory of a cgroup (version 2) in which the child is
	// born and that is the child's alone: whoever is in it at the child's end
	// is killed. Where clone3(2) is forbidden it is moved there before Start
	// returns, so before its command runs if that is Held. -1: the master's
	// cgroup. It may be closed after Start.
	CgroupFD int

	// AskGroup: exited is called as soon as the process has ended and its group
	// has been killed. Reap asks the kernel then whether anything of the group is
	// left, which is one call, where a look through /proc is a thousand on a busy
	// machine; but the kernel counts the process itself until it has been reaped.
	// If there is, Reap says ErrLingers, and exited is called once more when it is
	// gone. Not with a CgroupFD.
	AskGroup bool

	// long is for tests: the way that is always open, see bear.
	long bool
}

// An Exit is how a process ended.
type Exit struct {
	Code   int            // exit status, if Signal is 0
	Signal syscall.Signal // the signal it died of
	Core   bool           // a core was dumped
	// OutOfMemory: the kernel killed it for the memory that its cgroup took.
	// Who knows the cgroup sets it.
	OutOfMemory bool
	// Unknown: the process was not our child and the kernel does not tell
	// (PIDFD_GET_INFO with exit information is Linux 6.15).
	Unknown bool
}

// String is the exit in words, as in "exit status 1" or
// "killed by SIGSEGV (core dumped)".
func (e Exit) String() string {
	switch {
	case e.Unknown:
		return "unknown"
	case e.Signal == 0:
		return fmt.Sprintf("exit status %d", e.Code)
	case e.OutOfMemory:
		return "killed by the kernel for memory"
	case e.Core:
		return fmt.Sprintf("killed by %s (core dumped)", signalName(e.Signal))
	}
	return "killed by " + signalName(e.Signal)
}

// Success reports an exit status of 0.
func (e Exit) Success() bool { return e == Exit{} }

// A LaunchError says which step on the way to the user's command failed.
type LaunchError struct {
	// Step is in words, as in "execute /srv/web/server".
	Step string
	// Errno is 0 if the child ended before any step could fail, of a signal
	// for instance: its Exit then says more.
	Errno syscall.Errno
}

func (e *LaunchError) Error() string {
	if e.Errno == 0 {
		return e.Step
	}
	return e.Step + ": " + e.Errno.Error()
}

// Unwrap gives the errno, so that errors.Is(err, fs.ErrNotExist) works.
func (e *LaunchError) Unwrap() error {
	if e.Errno == 0 {
		return nil
	}
	return e.Errno
}
