package logs

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// A Relay passes one worker's output on, line by line, each as
// "LABEL | line\n" whole in one write, in the order of its stream. It reads on
// even if the writer fails: a full disk must not stop a worker.
type Relay struct {
	out, err *stream
	worker   [2]int // the worker's side, until Started
	to       Writers
	done     chan struct{}
}

// Pipes are the inodes of a relay's pipes, by which a successor knows them; 0
// for a stream that is not relayed.
type Pipes struct{ Stdout, Stderr uint64 }

// Kept is what crosses an exec in place: plain data, and the numbers of two
// descriptors, -1 for a stream that has ended.
type Kept struct {
	Stdout, Stderr               int
	StdoutPartial, StderrPartial []byte
	StdoutTail, StderrTail       []string
}

// Writers are where the streams go. Each is written to from many goroutines, as
// an *os.File and a *File may be. A stream without one is not relayed.
type Writers struct {
	Stdout, Stderr io.Writer
	// Ended is called when both streams have ended, and not when they are
	// detached; nil: nothing is.
	Ended func()
}

// New makes the pipes of a worker that is to be started, and reads from them.
func New(w Writers, label string) (*Relay, error) {
	ours, theirs := [2]int{-1, -1}, [2]int{-1, -1}
	for i, to := range []io.Writer{w.Stdout, w.Stderr} {
		if to == nil {
			continue
		}
		var err error
		if ours[i], theirs[i], err = pipe(); err != nil {
			closeAll(ours[0], theirs[0])
			return nil, err
		}
	}
	r, err := Resume(w, label, Kept{Stdout: ours[0], Stderr: ours[1]})
	if err != nil {
		closeAll(theirs[:]...)
		return nil, err
	}
	r.worker = theirs
	return r, nil
}

// pipe makes a pipe whose other side is open for reading as well: the worker
// itself is the reader that saves it from EPIPE when no master reads.
func pipe() (ours, theirs int, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return -1, -1, fmt.Errorf("make a pipe for output: %w", err)
	}
	theirs, err = unix.Open("/proc/self/fd/"+strconv.Itoa(p[1]), unix.O_RDWR|unix.O_CLOEXEC, 0)
	closeAll(p[1])
	if err != nil {
		closeAll(p[0])
		return -1, -1, fmt.Errorf("open the worker's side of a pipe: %w", err)
	}
	return p[0], theirs, nil
}

func closeAll(fds ...int) {
	for _, fd := range fds {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

// Resume reads on from what Detach gave, and owns its descriptors, in failure
// too.
func Resume(w Writers, label string, k Kept) (*Relay, error) {
	out, err := newStream(k.Stdout, label, k.StdoutPartial, k.StdoutTail)
	if err != nil {
		closeAll(k.Stderr)
		return nil, err
	}
	errs, err := newStream(k.Stderr, label, k.StderrPartial, k.StderrTail)
	if err != nil {
		out.close()
		return nil, err
	}
	r := &Relay{out: out, err: errs, worker: [2]int{-1, -1}, to: w, done: make(chan struct{})}
	var left atomic.Int32
	left.Store(2)
	over := func() {
		if left.Add(-1) == 0 && out.ended && errs.ended {
			close(r.done)
			if w.Ended != nil {
				w.Ended()
			}
		}
	}
	go out.run(w.Stdout, over)
	go errs.run(w.Stderr, over)
	return r, nil
}

// Again is Resume for a relay that was detached for nothing.
func (r *Relay) Again(label string, k Kept) (*Relay, error) { return Resume(r.to, label, k) }

// Reopen is for a successor of a master that is gone: it finds the pipes of a
// living worker again on its descriptors 1 and 2, if they are those of before.
// It needs the right to ptrace the worker. What the worker wrote meanwhile is
// still there; from 64 KiB on it waits.
func Reopen(w Writers, label string, pid int, was Pipes) (*Relay, error) {
	k := Kept{Stdout: -1, Stderr: -1}
	for _, s := range []struct {
		from  int
		inode uint64
		to    *int
	}{{1, was.Stdout, &k.Stdout}, {2, was.Stderr, &k.Stderr}} {
		if s.inode == 0 {
			continue
		}
		fd, err := reopen(pid, s.from, s.inode)
		if err != nil {
			closeAll(k.Stdout)
			return nil, fmt.Errorf("reopen the output of process %d: %w", pid, err)
		}
		*s.to = fd
	}
	return Resume(w, label, k)
}

var errOtherPipe = errors.New("it writes elsewhere now")

func reopen(pid, from int, inode uint64) (int, error) {
	path := fmt.Sprintf("/proc/%d/fd/%d", pid, from)
	// Looked at before it is opened: opening may act on other kinds of file.
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return -1, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFIFO || st.Ino != inode {
		return -1, errOtherPipe
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.Fstat(fd, &st); err != nil || st.Ino != inode {
		closeAll(fd)
		return -1, errOtherPipe
	}
	return fd, nil
}

// Worker gives the descriptors for the worker's standard output and error; -1
// for one that is not relayed.
func (r *Relay) Worker() (stdout, stderr int) { return r.worker[0], r.worker[1] }

// Chown gives the pipes to the worker's user, who may open /dev/stdout and
// /dev/stderr then; -1 leaves an owner.
func (r *Relay) Chown(uid, gid int) error {
	for _, fd := range r.worker {
		if fd < 0 {
			continue
		}
		if err := unix.Fchown(fd, uid, gid); err != nil {
			return fmt.Errorf("give the output pipe to user %d: %w", uid, err)
		}
	}
	return nil
}

// Pipes tells the inodes, for Reopen. It is to be called before Started.
func (r *Relay) Pipes() (Pipes, error) {
	var ino [2]uint64
	for i, fd := range r.worker {
		if fd < 0 {
			continue
		}
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return Pipes{}, fmt.Errorf("look at the output pipe: %w", err)
		}
		ino[i] = st.Ino
	}
	return Pipes{ino[0], ino[1]}, nil
}

// Started closes the worker's side here: after the start, also after one that
// failed. Without it the streams never end.
func (r *Relay) Started() {
	closeAll(r.worker[:]...)
	r.worker = [2]int{-1, -1}
}

// Done is closed when nobody has the output open any more and all of it has
// been relayed. A process that left its worker's group may keep it open for
// long.
func (r *Relay) Done() <-chan struct{} { return r.done }

// Tail is the last lines (up to ten, cut to 1 KiB) of standard error, or of
// standard output if nothing came there; complete once Done is closed.
func (r *Relay) Tail() []string {
	if tail := r.err.lines.last(); len(tail) > 0 {
		return tail
	}
	return r.out.lines.last()
}

// Detach stops reading and gives all that is needed to Resume, here or in the
// next image: nothing is lost, and no line is torn. The descriptors are
// close-on-exec. Done is never closed then.
func (r *Relay) Detach() (Kept, error) {
	var k Kept
	var err [2]error
	k.Stdout, k.StdoutPartial, k.StdoutTail, err[0] = r.out.detach()
	k.Stderr, k.StderrPartial, k.StderrTail, err[1] = r.err.detach()
	if err := errors.Join(err[:]...); err != nil {
		closeAll(k.Stdout, k.Stderr)
		return Kept{Stdout: -1, Stderr: -1}, fmt.Errorf("keep the output pipes: %w", err)
	}
	return k, nil
}
