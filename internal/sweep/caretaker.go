package sweep

import (
	"context"
	"errors"
	"maps"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"fugue/internal/proc"
	"fugue/internal/systemd"
)

// Three kinds of stop run no ExecStopPost=: one in the pause of RestartSec=,
// one while the unit waits for a dependency that is being restarted, and the
// end of all attempts at the start limit.

const (
	// rest is how often in a row, and how far apart, a unit must be seen at
	// rest: between two of its states it can look so for an instant.
	rest      = 3
	restAgain = 100 * time.Millisecond

	// slowly is how often to look when systemd tells of changes, for what it
	// does not tell: that nothing is left to care for. Else it is the only way.
	slowly = 5 * time.Second
	poll   = time.Second
)

// Caretaker watches a unit whose processes were left to a successor, until
// that has come up (true for a start under way: its end runs sweep again), or
// nothing is left, or the unit has come to rest. Then it ends them. It is
// started by sweep, with its lock.
func Caretaker(ctx context.Context, o Options) error {
	path, err := lockPath(o.Env, unix.Geteuid(), o.Unit)
	if err != nil {
		return err
	}
	l, err := resume(path, lockFD)
	if err != nil {
		return err
	}
	group, err := proc.UnitCgroup(o.Unit)
	if err != nil {
		l.release()
		return err
	}
	// What the journal and ps call us; it would be "exe".
	_ = os.WriteFile("/proc/self/comm", []byte("fugue-caretaker"), 0)
	c := &caretaker{Options: o, group: group, known: known(o), path: path, lock: l}
	begun()
	defer c.unlock()
	return c.run(ctx)
}

type caretaker struct {
	Options
	group group
	// known is read at once: systemd removes a stopped unit's directory.
	known   map[int]Leftover
	path    string          // of the lock
	lock    *lock           // nil: it could not be had again
	changes <-chan struct{} // nil: systemd does not tell
	rests   int             // how often in a row the unit was at rest
}

func (c *caretaker) run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		c.listen(ctx) // before the look, so that no change falls in between
		over, err := c.look(ctx)
		if over || err != nil {
			return err
		}
		pause := poll
		switch {
		case c.rests > 0:
			pause = restAgain
		case c.changes != nil:
			pause = slowly
		}
		timer.Reset(pause)
		select {
		case _, open := <-c.changes:
			if !open {
				c.changes = nil
			}
		case <-timer.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (c *caretaker) listen(ctx context.Context) {
	if c.changes == nil {
		if changes, err := systemd.Changes(ctx, c.Unit); err == nil {
			c.changes = changes
		}
	}
}

// look reports whether there is nothing more to do.
func (c *caretaker) look(ctx context.Context) (over bool, err error) {
	answer, err := job(ctx, c.Unit)
	left, listErr := c.group.Processes(os.Getpid())
	switch {
	case listErr != nil:
		return false, listErr
	case len(left) == 0:
		return true, nil
	case err != nil:
		c.Log.Debugf("%v", err)
		c.rests = 0
	case succeeded(answer):
		return c.leave(ctx)
	case !answer.Resting():
		c.rests = 0
	default:
		if c.rests++; c.rests >= rest {
			c.rests = 0
			c.Log.Infof("the unit is %s and nobody starts it: ending %s", answer.Active, processes(len(left)))
			if err := c.end(ctx); err != nil {
				return false, err
			}
			return c.look(ctx) // whether that was all
		}
	}
	return false, nil
}

// succeeded reports that a new master is there: however it ends, sweep is run
// then.
func succeeded(a systemd.Answer) bool {
	switch a.Active {
	case "active", "reloading", "refreshing":
		return true
	case "activating":
		return a.Sub == "start" || a.Sub == "start-post"
	}
	return false
}

// leave gives the lock up and looks once more. A sweep that came in between
// found the lock taken, and relies on us.
func (c *caretaker) leave(ctx context.Context) (over bool, err error) {
	c.unlock()
	if answer, err := job(ctx, c.Unit); err == nil && succeeded(answer) {
		return true, nil
	}
	l, err := tryLock(c.path)
	if errors.Is(err, errCared) {
		return true, nil
	}
	if err != nil { // its directory goes with the unit's stop, and that we are here for
		c.Log.Debugf("%v", err)
	}
	c.lock = l
	return false, nil
}

func (c *caretaker) unlock() {
	if c.lock != nil {
		c.lock.release()
	}
	c.lock = nil
}

// end ends what is in the cgroup, as long as the unit rests. Should it be
// started meanwhile, the new master is younger than the last answer, and is
// not touched.
func (c *caretaker) end(ctx context.Context) error {
	begun := time.Now()
	limit := limitOf(ctx, c.Unit)
	var before uint64
	all := maps.Clone(known(c.Options))
	maps.Copy(all, c.known)
	e := &ending{
		log: c.Log, known: all, unknown: limit,
		list: func() ([]int, error) { return c.group.Processes(os.Getpid()) },
		wanted: func() bool {
			var err error
			if before, err = ticks(); err != nil {
				c.Log.Errorf("read the clock: %v", err)
				return false
			}
			answer, err := job(ctx, c.Unit)
			return err == nil && answer.Resting()
		},
		ours: func(pid int, start uint64) bool { return start < before && c.group.Has(pid) },
	}
	if limit > 0 {
		e.deadline = begun.Add(limit)
	} else {
		e.unknown = defaultLimit
	}
	return e.run(ctx)
}

// ticks is now as proc_pid_stat(5) counts the starts of processes: since boot,
// by the tick.
func ticks() (uint64, error) {
	var now unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now)
	return uint64(now.Nano() / int64(tick)), err
}

// tick is the unit of the starts of processes.
const tick = 10 * time.Millisecond
