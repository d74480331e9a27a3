package handover

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// partVariable makes the running image one of our own parts instead of what it
// is: "guard:PID" or "launch:PATH".
const partVariable = "FUGUE_HANDOVER_PART"

// Main is the first call of main. If the process is one of our own parts, it is
// done when Main returns, and ours says that it is to exit with code.
func Main() (code int, ours bool) {
	v, ok := os.LookupEnv(partVariable)
	if !ok {
		return 0, false
	}
	switch word, rest, _ := strings.Cut(v, ":"); word {
	case "guard":
		return guardMain(rest), true
	case "launch":
		return launch(rest), true
	}
	fmt.Fprintf(os.Stderr, "%s is fugue's own and must not be set by hand\n", partVariable)
	return 127, true
}

func withoutPart(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(entry string) bool {
		return strings.HasPrefix(entry, partVariable+"=")
	})
}

// startPart starts the running image as one of our parts, in a process group of
// its own: a terminal's ^C is for the master. /proc/self/exe is that image even
// when its file was replaced.
func startPart(part string, args, env []string, files []uintptr) (pid, pidfd int, err error) {
	if _, is := os.LookupEnv(partVariable); is {
		// Else a program without that call would start itself for ever.
		return 0, -1, errors.New("main does not begin with handover.Main")
	}
	pidfd = -1
	pid, err = syscall.ForkExec("/proc/self/exe", args, &syscall.ProcAttr{
		Env: append(withoutPart(env), partVariable+"="+part), Files: files,
		Sys: &syscall.SysProcAttr{Setpgid: true, PidFD: &pidfd},
	})
	if err != nil {
		return 0, -1, fmt.Errorf("start the own image: %w", err)
	}
	if pidfd < 0 {
		_ = unix.Kill(pid, unix.SIGKILL)
		_, _ = unix.Wait4(pid, nil, 0, nil)
		return 0, -1, errors.New("start the own image: the kernel gave no pidfd for it (Linux 5.4 or later is needed)")
	}
	return pid, pidfd, nil
}

// unblockAll is for this thread, which stays locked and execs next.
func unblockAll() {
	runtime.LockOSThread()
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &unix.Sigset_t{}, nil)
}

// pipe gives an end to read here and the descriptor of the other, which is
// blocking: programs do not expect EAGAIN from their stdout.
func pipe() (read *os.File, write int, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return nil, -1, fmt.Errorf("make a pipe: %w", err)
	}
	if err := unix.SetNonblock(p[0], true); err != nil {
		_ = unix.Close(p[0])
		_ = unix.Close(p[1])
		return nil, -1, fmt.Errorf("make a pipe: %w", err)
	}
	return os.NewFile(uintptr(p[0]), "pipe"), p[1], nil
}

// retry repeats what a signal interrupts.
func retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
