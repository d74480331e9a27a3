package handover

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// held are the signals that a guard keeps; see Guard for those that it does not.
const held = 1<<(unix.SIGHUP-1) | 1<<(unix.SIGINT-1) | 1<<(unix.SIGQUIT-1) | 1<<(unix.SIGTERM-1)

func isHeld(sig unix.Signal) bool { return held>>(sig-1)&1 != 0 }

// criticalMask is blocked as a whole in a Go program only where a thread runs a
// signal handler or forks, for microseconds. A mask that is about to be replaced
// is not to be changed; and a signal whose handler has begun is in nobody's
// hands yet. So such a thread goes on and is stopped once more.
const criticalMask = 1<<(unix.SIGSEGV-1) | 1<<(unix.SIGPROF-1)

// A tracer is the guard's view of the master. All of it happens on the one
// thread that traces: ptrace(2) answers no other.
type tracer struct {
	pid     int
	threads map[int]*thread
	kept    []siginfo // the signals held back, in order, one of each kind
	holding bool      // the threads are masked for an exec
	passing bool      // released: nothing is held back any more
	again   *siginfo  // the one that is sent anew, until it is delivered
	gone    bool      // the master has ended

	children <-chan os.Signal // SIGCHLD: something is to be waited for
}

type thread struct {
	masked  bool                     // its mask has the held signals from us
	visit   func(tid int, t *thread) // to do at a stop that is not critical
	stopped bool                     // since it was interrupted for that
}

// attach traces every thread of the master. A thread that is born meanwhile by
// one that is not yet traced is in the list at the next look; and one whose
// parent was in the midst of it when the tracing began is there once that
// parent has stopped.
func (t *tracer) attach() error {
	if _, err := t.seizeAll(); err != nil {
		return err
	}
	for {
		if err := t.visitAll(func(int, *thread) {}); err != nil {
			return err
		}
		if found, err := t.seizeAll(); err != nil || !found {
			return err
		}
	}
}

// seizeAll goes on until a look finds nothing new, and says whether any did.
func (t *tracer) seizeAll() (seized bool, err error) {
	for {
		list, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", t.pid))
		if err != nil {
			return seized, fmt.Errorf("list the threads of process %d: %w", t.pid, err)
		}
		found := false
		for _, entry := range list {
			tid, _ := strconv.Atoi(entry.Name())
			if t.threads[tid] != nil {
				continue
			}
			switch err := seize(tid); {
			case errors.Is(err, unix.ESRCH): // it has ended
				continue
			case errors.Is(err, unix.EPERM) && t.ours(tid): // born of a traced one since the look
			case err != nil:
				return seized, refused(tid, err)
			}
			t.threads[tid] = &thread{}
			found, seized = true, true
		}
		if !found {
			return seized, nil
		}
	}
}

// ours tells whether we trace a thread already.
func (t *tracer) ours(tid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/status", t.pid, tid))
	return err == nil && slices.Contains(statusLines(b), "TracerPid:\t"+strconv.Itoa(os.Getpid()))
}

// visitAll stops every thread once, where it is not critical, and does f there.
func (t *tracer) visitAll(f func(tid int, th *thread)) error {
	for _, th := range t.threads {
		th.visit, th.stopped = f, false
	}
	defer func() { // what was not reached is not to happen any more
		for _, th := range t.threads {
			th.visit = nil
		}
	}()
	late := time.NewTimer(answerTime / 2)
	defer late.Stop()
	stopped := func() bool {
		for _, th := range t.threads {
			if th.visit != nil && !th.stopped {
				return false
			}
		}
		return true
	}
	for t.interruptAll() > 0 {
		if !t.until(stopped, late.C) {
			return errors.New("a thread of the master does not stop: it waits in the kernel for a device, or is frozen")
		}
		if t.gone {
			return nil
		}
		select {
		case <-late.C:
			return errors.New("a thread of the master stays in a signal handler")
		default:
		}
	}
	return nil
}

// interruptAll stops the threads that are still to be visited and says how many
// those are. One that was critical gets the time to come out.
func (t *tracer) interruptAll() (n int) {
	critical := false
	for _, th := range t.threads {
		critical = critical || th.visit != nil && th.stopped
	}
	if critical {
		pause := time.NewTimer(100 * time.Microsecond)
		t.until(func() bool { return false }, pause.C)
	}
	for tid, th := range t.threads {
		if th.visit == nil {
			continue
		}
		th.stopped = false
		if errors.Is(interrupt(tid), unix.ESRCH) {
			delete(t.threads, tid)
			continue
		}
		n++
	}
	return n
}

// until handles what happens until done holds, the master has ended, or it is
// late.
func (t *tracer) until(done func() bool, late <-chan time.Time) bool {
	for {
		t.drain()
		if t.gone || done() {
			return true
		}
		select {
		case <-t.children:
		case <-late:
			return false
		}
	}
}

// drain answers every stop that there is.
func (t *tracer) drain() {
	for {
		var status unix.WaitStatus
		tid, err := unix.Wait4(-1, &status, unix.WNOHANG|unix.WALL, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil, tid <= 0:
			return
		case status.Stopped():
			t.stopped(tid, status)
		default:
			delete(t.threads, tid)
			if tid == t.pid {
				t.gone = true
			}
		}
	}
}

// stopped answers one stop. A thread that is killed meanwhile, by an exec or
// with the whole process, does not hear it, and need not.
func (t *tracer) stopped(tid int, status unix.WaitStatus) {
	th := t.threads[tid]
	if th == nil { // newborn, before its parent's stop was seen
		th = &thread{}
		t.threads[tid] = th
	}
	th.stopped = true
	if m, err := getMask(tid); th.visit != nil && (err != nil || m&criticalMask != criticalMask) {
		th.visit(tid, th)
		th.visit = nil
	}
	sig := status.StopSignal()
	switch event := int(status) >> 16; event {
	case 0:
		_ = goOn(tid, t.deliver(tid, sig))
	case unix.PTRACE_EVENT_EXEC:
		// The thread that called it has the leader's number now, and is alone.
		t.threads = map[int]*thread{tid: th}
		if th.masked = false; t.holding {
			t.holding = false
			t.unmask(tid)
		}
		_ = goOn(tid, 0)
	case unix.PTRACE_EVENT_STOP:
		if sig != unix.SIGTRAP {
			_ = listen(tid) // stopped by SIGSTOP or the like, until SIGCONT
			return
		}
		_ = goOn(tid, 0) // interrupted by us, newborn, or continued
	default:
		_ = goOn(tid, 0)
	}
}

// deliver says which signal a thread gets that is about to get sig.
func (t *tracer) deliver(tid int, sig unix.Signal) unix.Signal {
	if !isHeld(sig) {
		return sig
	}
	if t.passing {
		if t.again != nil && t.again.signo == int32(sig) {
			// If it is another's of the kind, the two have become one, as two
			// would have in the kernel.
			_ = setSiginfo(tid, *t.again)
			t.again = nil
		}
		return sig
	}
	si, err := getSiginfo(tid)
	if err != nil { // killed meanwhile: the number is all that is known
		si = siginfo{signo: int32(sig)}
	}
	if !slices.ContainsFunc(t.kept, func(k siginfo) bool { return k.signo == si.signo }) {
		t.kept = append(t.kept, si)
	}
	return 0
}

// mask has the held signals wait in the kernel.
func (t *tracer) mask(tid int, th *thread) {
	m, err := getMask(tid)
	if err != nil || m&held == held {
		return
	}
	th.masked = setMask(tid, m|held) == nil
}

// unmaskIfMasked undoes mask.
func (t *tracer) unmaskIfMasked(tid int, th *thread) {
	if !th.masked {
		return
	}
	th.masked = false
	t.unmask(tid)
}

func (t *tracer) unmask(tid int) {
	if m, err := getMask(tid); err == nil {
		_ = setMask(tid, m&^held)
	}
}

// resend gives back what was kept. A signal that is sent here meets us once
// more on its way, where it gets its siginfo back: what a process sends may not
// say that the kernel sent it, or somebody else (rt_sigqueueinfo(2)).
func (t *tracer) resend() error {
	t.passing = true
	for _, si := range t.kept {
		t.again = &si
		if err := unix.Kill(t.pid, unix.Signal(si.signo)); err != nil {
			if errors.Is(err, unix.ESRCH) {
				return nil
			}
			return fmt.Errorf("resend %s: %w", unix.SignalName(unix.Signal(si.signo)), err)
		}
		// One that is blocked, or stopped by SIGSTOP, takes it later, from us.
		late := time.NewTimer(time.Second)
		t.until(func() bool { return t.again == nil }, late.C)
		late.Stop()
		t.again = nil
	}
	t.kept = nil
	return t.visitAll(t.unmaskIfMasked)
}
