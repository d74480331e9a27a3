package daemon

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Start runs the program at path, with args as its whole argv, in the
// background, and waits until it is ready or has ended; what it says meanwhile
// goes to words. The code is the exit status that is the caller's then; of a
// daemon that ended well without ever having been ready it is 1. When ctx ends
// the daemon is asked to stop, and its end is awaited.
func Start(ctx context.Context, path string, args []string, dir string, words io.Writer) (code int, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return 0, fmt.Errorf("make a pipe: %w", err)
	}
	report := os.NewFile(uintptr(p[0]), "daemon")
	defer report.Close()
	pid, err := spawn(path, args, between, p[1], dir, true)
	_ = unix.Close(p[1])
	if err != nil {
		return 0, err
	}
	var status unix.WaitStatus
	if _, err := unix.Wait4(pid, &status, 0, nil); err != nil {
		return 0, fmt.Errorf("wait for the start of the daemon: %w", err)
	}
	return hear(ctx, report, words)
}

// hear copies the daemon's words until it says how it went.
func hear(ctx context.Context, report io.Reader, words io.Writer) (code int, err error) {
	pid := 0
	for in := bufio.NewReader(report); ; {
		line, err := in.ReadString('\n')
		if err != nil { // its end of the pipe is closed: nobody is there
			return 0, fmt.Errorf("the daemon%s ended before the pool was ready", named(pid))
		}
		line = strings.TrimSuffix(line, "\n")
		if number, ok := strings.CutPrefix(line, wordPID); ok {
			pid, _ = strconv.Atoi(number)
			defer context.AfterFunc(ctx, func() { _ = unix.Kill(pid, unix.SIGTERM) })()
			continue
		}
		if line == wordDone {
			return 0, nil
		}
		if number, ok := strings.CutPrefix(line, wordEnd); ok {
			if code, err = strconv.Atoi(number); err != nil || code != 0 {
				return code, err
			}
			return 0, fmt.Errorf("the daemon%s was stopped before the pool was ready", named(pid))
		}
		fmt.Fprintln(words, line)
	}
}

func named(pid int) string {
	if pid == 0 {
		return ""
	}
	return fmt.Sprintf(" (pid %d)", pid)
}

// GoOn is all that the process in between does: it leads the session, and a
// leader could be given a terminal again, so the daemon is another. ok is false
// for who is not in between.
func GoOn(lookup func(string) (string, bool), args []string) (ok bool, err error) {
	s, fd, dir, err := parse(lookup)
	if err != nil || s != between {
		return false, err
	}
	_, err = spawn(args[0], args, serving, fd, dir, false)
	return true, err
}

// spawn starts the next stage, with nothing of this process but the pipe.
func spawn(path string, args []string, s stage, pipe int, dir string, session bool) (pid int, err error) {
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("open /dev/null: %w", err)
	}
	defer unix.Close(null)
	// What others left open for this process is not the daemon's: a pipe of
	// the shell's whose end somebody waits for.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return 0, fmt.Errorf("close what was inherited (Linux 5.11 or later is needed): %w", err)
	}
	const end = 3 // of the pipe, there
	env := slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, Variable+"=") })
	env = append(env, fmt.Sprintf("%s=%s:%d:%s", Variable, s, end, dir))
	// The mask of the thread that forks is the child's.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var none, before unix.Sigset_t
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &none, &before); err != nil {
		return 0, fmt.Errorf("unblock signals: %w", err)
	}
	defer func() { _ = unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil) }()
	pid, err = syscall.ForkExec(path, args, &syscall.ProcAttr{
		Dir: "/", Env: env, Sys: &syscall.SysProcAttr{Setsid: session},
		Files: []uintptr{uintptr(null), uintptr(null), uintptr(null), uintptr(pipe)},
	})
	if err != nil {
		return 0, fmt.Errorf("start %s in the background: %w", path, err)
	}
	return pid, nil
}
