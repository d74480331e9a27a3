// Package sweep ends what a pool's master has left behind, and only when
// nobody is to take it over.
//
// Workers outlive a master that dies or hands over, so that a successor finds
// them serving. When there will be none (the unit's job is a stop, or the unit
// came to rest) they must go, or they serve on below a unit that is down.
// systemd calls sweep after each end of the master; where it has to leave
// processes, a caretaker stays behind and ends them should the unit come to
// rest after all. A process is ended by its pidfd, and only if it is one of
// the unit's: never by a bare number.
package sweep

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"fugue/internal/proc"
	"fugue/internal/systemd"
)

// Leftover says how a process that a master left is to be ended.
type Leftover struct {
	Start   uint64         // field 22 of proc_pid_stat(5), in clock ticks: with the PID, whose process it is
	Signal  syscall.Signal // the stop signal; 0 means TERM
	Timeout time.Duration  // from the signal to KILL; 0 means as long as may be
}

// Options are what a sweep needs to know.
type Options struct {
	Unit string // the unit that we are a command of
	Name string // of the pool, "" where it was not said
	// Known are the workers that the master wrote down, by PID. nil: none.
	// Processes that are not among them get TERM and the unit's own limit.
	Known func() map[int]Leftover
	Log   *logrus.Logger
	Env   func(string) string // os.Getenv
}

// askTime is how long systemd may take to answer. It is short of a second
// mostly, and some 100 ms where it is executing itself anew.
const askTime = 5 * time.Second

// Unit is what systemd calls after each end of the unit's main process
// (ExecStopPost=+). A job that is a stop ends all processes of the unit but
// this one. With any other, or no answer, they are left to a successor, and to
// a caretaker in case none comes.
func Unit(ctx context.Context, o Options) error {
	begun := begin(os.Getpid())
	group, err := proc.UnitCgroup(o.Unit)
	if err != nil {
		return err
	}
	left, err := group.Processes(os.Getpid())
	if err != nil || len(left) == 0 {
		return err
	}
	answer, err := job(ctx, o.Unit)
	if err == nil && answer.Job == "stop" {
		o.Log.Infof("the unit's job is a stop: ending %s", processes(len(left)))
		limit := limitOf(ctx, o.Unit)
		return sweepAll(ctx, o, group, begun, limit)
	}
	if err != nil {
		o.Log.Warnf("%v; whether this is a stop is not known, so %s serve on: add the + of ExecStopPost=+ to the unit, and systemd can be asked", err, processes(len(left)))
	} else {
		o.Log.Infof("the unit's job is %q and no stop: leaving %s to the next master", answer.Job, processes(len(left)))
	}
	return startCaretaker(o)
}

// begin is when a process was started: from then on systemd's limit for a command
// runs, and on a busy machine that may be a while before its first line does.
func begin(pid int) time.Time {
	start, err := proc.StartTime(pid)
	now, clockErr := ticks()
	if err != nil || clockErr != nil || now < start {
		return time.Now()
	}
	return time.Now().Add(-time.Duration(now-start) * tick)
}

func job(ctx context.Context, unit string) (systemd.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	return systemd.Job(ctx, unit)
}

// defaultLimit is DefaultTimeoutStopSec= of systemd-system.conf(5).
const defaultLimit = 90 * time.Second

// limitOf is how long the unit's commands may take, without the time that the
// killing needs; 0 if that is not limited.
func limitOf(ctx context.Context, unit string) time.Duration {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	limit, err := systemd.StopTimeout(ctx, unit)
	switch {
	case err != nil:
		limit = defaultLimit
	case limit == systemd.Infinity:
		return 0
	}
	return limit - min(limit/5, 5*time.Second)
}

// sweepAll ends all processes of the unit but us. begun is when the limit, 0
// for none, began to run.
func sweepAll(ctx context.Context, o Options, group group, begun time.Time, limit time.Duration) error {
	e := &ending{
		log: o.Log, known: known(o), unknown: limit,
		list: func() ([]int, error) { return group.Processes(os.Getpid()) },
		ours: func(pid int, _ uint64) bool { return group.Has(pid) },
	}
	if limit > 0 {
		e.deadline = begun.Add(limit)
	} else {
		e.unknown = defaultLimit
	}
	return e.run(ctx)
}

// group is a unit's cgroup.
type group interface {
	Processes(self int) ([]int, error)
	Has(pid int) bool
}

func known(o Options) map[int]Leftover {
	if o.Known == nil {
		return nil
	}
	return o.Known()
}

func processes(n int) string {
	if n == 1 {
		return "1 process that is left"
	}
	return fmt.Sprintf("%d processes that are left", n)
}
