package handover

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxOutput bounds what is kept of a rehearsal's output, in bytes: its end.
const maxOutput = 8 << 10

// drainTime bounds the wait for output that a process which left the
// rehearsal's group still could write.
const drainTime = 200 * time.Millisecond

// A RehearsalError says how a binary ended that was to prove that it can go on.
type RehearsalError struct {
	Path   string
	Exit   string // in words: "exit status 78", "killed by SIGSEGV"
	Status int    // of exit; -1 if a signal ended it
	Output string // the last of what it wrote, at most 8 KiB, as it wrote it
	// Cause is the context's, if it was killed because that ended.
	Cause error
}

func (e *RehearsalError) Error() string {
	text := "rehearse " + e.Path + ": " + e.Exit
	if out := strings.TrimSpace(e.Output); out != "" {
		text += ": " + out
	}
	return text
}

func (e *RehearsalError) Unwrap() error { return e.Cause }

// Rehearse runs the binary at path with args as its whole argv, env, and the
// state as descriptor 3, which it shares with us. It stands in a process group
// of its own, has /dev/null to read, no other descriptors, and no signals
// blocked. It gives nil if the binary exits 0, else a *RehearsalError; when ctx
// ends it is killed with its group. A binary that cannot be executed is an
// error with path and errno. It waits for all that: beside the loop.
func Rehearse(ctx context.Context, path string, args, env []string, state int) error {
	r, err := startRehearsal(path, args, env, state)
	if err != nil {
		return err
	}
	defer r.close()
	killed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = unix.PidfdSendSignal(r.pidfd, unix.SIGKILL, nil, 0)
		close(killed)
	})
	output := make(chan string, 1)
	go func() { output <- tail(r.output) }()

	errno := readErrno(r.report)
	var info unix.Siginfo
	err = retry(func() error {
		return unix.Waitid(unix.P_PIDFD, r.pidfd, &info, unix.WEXITED|unix.WNOWAIT, nil)
	})
	inTime := stop()
	if !inTime {
		<-killed
	}
	// While it is not reaped its group's number is nobody else's.
	_ = unix.Kill(-r.pid, unix.SIGKILL)
	var status unix.WaitStatus
	if err == nil {
		err = retry(func() error { _, err := unix.Wait4(r.pid, &status, 0, nil); return err })
	}
	_ = r.output.SetReadDeadline(time.Now().Add(drainTime))
	text := <-output
	switch {
	case err != nil:
		return fmt.Errorf("rehearse %s: wait for it: %w", path, err)
	case errno != 0:
		return &fs.PathError{Op: "rehearse: exec", Path: path, Err: errno}
	case status.Exited() && status.ExitStatus() == 0:
		return nil
	}
	e := &RehearsalError{Path: path, Exit: words(status), Status: status.ExitStatus(), Output: text}
	if !inTime && status.Signaled() && status.Signal() == unix.SIGKILL {
		e.Exit, e.Cause = "it did not end in time and was killed", context.Cause(ctx)
	}
	return e
}

// rehearsal is the child.
type rehearsal struct {
	pid, pidfd     int
	output, report *os.File
}

func (r *rehearsal) close() {
	_ = unix.Close(r.pidfd)
	_ = r.output.Close()
	_ = r.report.Close()
}

// startRehearsal starts the part "launch" of the running image, which execs
// the binary. A child that we exec'ed ourselves would have the signals blocked
// that the master has, in every thread; and unblocking them here for the fork,
// even in one thread, would take them away from who waits for them.
func startRehearsal(path string, args, env []string, state int) (*rehearsal, error) {
	null, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("rehearse %s: open /dev/null: %w", path, err)
	}
	defer unix.Close(null)
	output, to, err := pipe()
	if err != nil {
		return nil, fmt.Errorf("rehearse %s: %w", path, err)
	}
	defer unix.Close(to)
	report, failure, err := pipe()
	if err != nil {
		_ = output.Close()
		return nil, fmt.Errorf("rehearse %s: %w", path, err)
	}
	defer unix.Close(failure)
	files := []uintptr{uintptr(null), uintptr(to), uintptr(to), uintptr(state), uintptr(failure)}
	pid, pidfd, err := startPart("launch:"+path, args, setVariable(env, "rehearse:3"), files)
	if err != nil {
		_ = output.Close()
		_ = report.Close()
		return nil, fmt.Errorf("rehearse %s: %w", path, err)
	}
	return &rehearsal{pid, pidfd, output, report}, nil
}

// reportFD is where the part "launch" writes an errno.
const reportFD = 4

// launch becomes the binary, or reports why not. It is the part's whole life.
func launch(path string) int {
	unblockAll()
	unix.CloseOnExec(reportFD)
	_ = unix.CloseRange(reportFD+1, ^uint(0), unix.CLOSE_RANGE_CLOEXEC)
	err := syscall.Exec(path, os.Args, withoutPart(os.Environ()))
	if errno, ok := err.(syscall.Errno); ok { //nolint:errorlint // Exec gives the bare one
		_, _ = unix.Write(reportFD, []byte(strconv.Itoa(int(errno))))
	}
	return 127
}

// readErrno waits for the exec (0) or for what prevented it.
func readErrno(f *os.File) syscall.Errno {
	b, _ := io.ReadAll(f)
	n, _ := strconv.Atoi(string(b))
	return syscall.Errno(n)
}

// tail reads to the end and keeps the last of it.
func tail(r io.Reader) string {
	var kept []byte
	buf := make([]byte, 4096)
	for {
		n, err := r.Read(buf)
		kept = append(kept, buf[:n]...)
		if len(kept) > maxOutput {
			kept = append(kept[:0], kept[len(kept)-maxOutput:]...)
		}
		if err != nil {
			return string(kept)
		}
	}
}

func words(status unix.WaitStatus) string {
	if status.Signaled() {
		return "killed by " + unix.SignalName(status.Signal())
	}
	return "exit status " + strconv.Itoa(status.ExitStatus())
}
