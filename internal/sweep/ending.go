package sweep

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"fugue/internal/proc"
)

// An ending is the way of a number of processes to their end: all that there
// are get their signal, then all are waited for, then what is left is killed,
// and it looks again for what was forked meanwhile, until there is nothing.
type ending struct {
	log      *logrus.Logger
	known    map[int]Leftover
	unknown  time.Duration // from the signal to KILL, for a process that is not known; 0: never
	deadline time.Time     // by when all are killed; the zero time: never
	list     func() ([]int, error)
	// ours reports whether a process is one of those; it is asked after the
	// pidfd was opened.
	ours func(pid int, start uint64) bool
	// wanted is asked before each look: is it right to end what is there?
	// nil: yes.
	wanted func() bool

	targets map[int]*target
	gone    chan int
	ended   int // how many have ended, and of these
	killed  int // by KILL
}

// target is a process that is being ended.
type target struct {
	child  *proc.Child
	killAt time.Time // the zero time: never
	killed bool
}

// afterKill is how long processes may take to go once they have been killed.
// Only one that the kernel holds takes longer than an instant.
const afterKill = 3 * time.Second

// errStays is for processes that the kernel does not let go.
var errStays = errors.New("killed, and did not end")

// run ends the processes. ctx ends the waiting, not what was begun.
func (e *ending) run(ctx context.Context) error {
	e.targets, e.gone = map[int]*target{}, make(chan int)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	over := ctx.Done() // also the end of who reports an end
	for {
		if len(e.targets) == 0 {
			more, err := e.look(over)
			if err != nil || !more {
				return err
			}
			if len(e.targets) == 0 { // there are some, not to be touched yet
				if late := e.deadline; !late.IsZero() && time.Since(late) > afterKill {
					return fmt.Errorf("end what is left: %w", errStays)
				}
				timer.Reset(again)
			}
		}
		if wake, ok := e.kill(time.Now()); ok {
			timer.Reset(max(0, time.Until(wake)))
		}
		select {
		case pid := <-e.gone:
			e.forget(pid)
		case <-timer.C:
			if stuck := e.stuck(time.Now()); len(stuck) > 0 {
				return fmt.Errorf("end processes %v: %w", stuck, errStays)
			}
		case <-over:
			return fmt.Errorf("wait for %s: %w", processes(len(e.targets)), context.Cause(ctx))
		}
	}
}

// again is the pause before processes that are too young are looked at once
// more: the kernel's clock of starts has ticks of 10 ms.
const again = 20 * time.Millisecond

// look finds what there is and signals the lot; it reports whether there is
// anything.
func (e *ending) look(over <-chan struct{}) (more bool, err error) {
	if e.wanted != nil && !e.wanted() {
		return false, nil
	}
	pids, err := e.list()
	if err != nil || len(pids) == 0 {
		return false, err
	}
	for _, pid := range pids {
		e.open(pid, over)
	}
	now := time.Now()
	for _, pid := range slices.Sorted(maps.Keys(e.targets)) {
		e.signal(now, pid)
	}
	return true, nil
}

// open takes hold of a process, if it is ours.
func (e *ending) open(pid int, over <-chan struct{}) {
	// A channel without room: who is not waited for any more ends with over.
	child, err := proc.Adopt(pid, 0, -1, func() {
		select {
		case e.gone <- pid:
		case <-over:
		}
	})
	switch {
	case errors.Is(err, proc.ErrGone):
	case err != nil:
		e.log.Errorf("%v", err)
	case e.ours(pid, child.StartTime()):
		e.targets[pid] = &target{child: child}
	}
}

// signal sends a process its stop signal and notes when it is to be killed. A
// member of a known worker's group is that worker's business: it is told by
// its leader, and killed with the group when the leader has ended.
func (e *ending) signal(now time.Time, pid int) {
	t := e.targets[pid]
	how, isKnown := e.manner(pid, t)
	leader, err := unix.Getpgid(pid)
	if l := e.targets[leader]; err == nil && leader != pid && l != nil {
		if theirs, ok := e.manner(leader, l); ok && !isKnown {
			t.killAt = e.killAt(now, theirs.Timeout)
			return
		}
	}
	t.killAt = e.killAt(now, how.Timeout)
	if err := t.child.Signal(how.Signal); err != nil {
		e.log.Errorf("%v", err)
	}
}

// manner is how a process is to be ended.
func (e *ending) manner(pid int, t *target) (how Leftover, isKnown bool) {
	how, isKnown = e.known[pid]
	if isKnown = isKnown && how.Start == t.child.StartTime(); !isKnown {
		how = Leftover{Timeout: e.unknown}
	}
	if how.Signal == 0 {
		how.Signal = syscall.SIGTERM
	}
	return how, isKnown
}

// killAt is when who was signalled now is killed.
func (e *ending) killAt(now time.Time, timeout time.Duration) time.Time {
	at := e.deadline
	if own := now.Add(timeout); timeout > 0 && (at.IsZero() || own.Before(at)) {
		at = own
	}
	return at
}

// kill kills whose time is over, and tells when it wants to be asked again.
func (e *ending) kill(now time.Time) (wake time.Time, ok bool) {
	for pid, t := range e.targets {
		if t.killAt.IsZero() {
			continue
		}
		if !t.killed && !now.Before(t.killAt) {
			t.killed, t.killAt = true, now
			e.killed++
			e.log.Warnf("killing process %d: it did not stop in time", pid)
			if err := t.child.KillGroup(); err != nil {
				e.log.Errorf("%v", err)
			}
		}
		at := t.killAt
		if t.killed {
			at = at.Add(afterKill)
		}
		if !ok || at.Before(wake) {
			wake, ok = at, true
		}
	}
	return wake, ok
}

// stuck are those that stay although they were killed.
func (e *ending) stuck(now time.Time) (pids []int) {
	for pid, t := range e.targets {
		if t.killed && now.Sub(t.killAt) >= afterKill {
			pids = append(pids, pid)
		}
	}
	return pids
}

func (e *ending) forget(pid int) {
	t := e.targets[pid]
	if t == nil {
		return // not one of ours
	}
	delete(e.targets, pid)
	e.ended++
	if _, err := t.child.Reap(); err != nil {
		e.log.Debugf("%v", err)
	}
}
