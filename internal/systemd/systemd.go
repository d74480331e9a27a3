// Package systemd asks the service manager about a unit: what is being done to
// it, how it is set, when it changes. It only asks. Each question has a
// connection of its own and is put again while the manager is executing itself
// anew, because to take a restart for a stop would cost a pause.
package systemd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"
)

// Answer is what systemd is doing to a unit, from one call, so that its parts
// belong together (org.freedesktop.systemd1(5), ListUnitsByNames).
type Answer struct {
	Job    string // type of the unit's job: "stop", "restart", "start", …; "" for none
	Active string // ActiveState: "active", "activating", "deactivating", "inactive", "failed", …
	Sub    string // SubState: "running", "stop-sigterm", "auto-restart", "dead", …
}

// Resting reports that the unit is down and that nothing is about to change
// it. systemd takes a unit that has no file for inactive: it rests too. A
// unit that waits to be started again by Restart= does not, it is activating.
func (a Answer) Resting() bool {
	return a.Job == "" && (a.Active == "inactive" || a.Active == "failed")
}

// Job asks what is being done to a unit. An error means that systemd could not
// be asked until ctx ended: without root, where no D-Bus is reachable, for one.
func Job(ctx context.Context, unit string) (Answer, error) {
	return ask(ctx, "the job of "+unit, func(c *dbus.Conn) (Answer, error) {
		list, err := c.ListUnitsByNamesContext(ctx, []string{unit})
		if err != nil {
			return Answer{}, err
		}
		for _, u := range list {
			if u.Name == unit {
				return Answer{Job: u.JobType, Active: u.ActiveState, Sub: u.SubState}, nil
			}
		}
		return Answer{}, errors.New("it does not know the unit")
	})
}

// Restarts asks whether the unit has Restart=always (systemd.service(5)):
// whether systemd starts it again however its main process ends, unless there
// is a job to stop it.
func Restarts(ctx context.Context, unit string) (bool, error) {
	word, err := property[string](ctx, unit, "Restart")
	return word == "always", err
}

// Infinity is what StopTimeout tells of TimeoutStopSec=infinity.
const Infinity time.Duration = 1<<63 - 1

// StopTimeout asks for the unit's TimeoutStopSec= (systemd.service(5)): how
// long its stop may take, and after it each command of ExecStopPost=.
func StopTimeout(ctx context.Context, unit string) (time.Duration, error) {
	usec, err := property[uint64](ctx, unit, "TimeoutStopUSec")
	if usec > uint64(Infinity/time.Microsecond) {
		return Infinity, err
	}
	return time.Duration(usec) * time.Microsecond, err
}

// StoreMax asks for the unit's FileDescriptorStoreMax= (systemd.service(5)):
// how many descriptors systemd keeps for its next main process.
func StoreMax(ctx context.Context, unit string) (int, error) {
	n, err := property[uint32](ctx, unit, "FileDescriptorStoreMax")
	return int(n), err
}

// property asks for one property of a service.
func property[T any](ctx context.Context, unit, name string) (T, error) {
	return ask(ctx, name+" of "+unit, func(c *dbus.Conn) (T, error) {
		var value T
		p, err := c.GetServicePropertyContext(ctx, unit, name)
		if err == nil {
			err = p.Value.Store(&value)
		}
		return value, err
	})
}

// again is the pause before a question is put once more. A manager that
// executes itself anew is away for 30 to 200 ms, and no event tells the end.
const again = 10 * time.Millisecond

// ask puts a question until it is answered, for good or bad, or ctx ends.
func ask[T any](ctx context.Context, what string, question func(*dbus.Conn) (T, error)) (T, error) {
	for {
		value, err := askOnce(ctx, question)
		if err == nil {
			return value, nil
		}
		wait := ctx.Done() // for good, unless it may help to ask again
		if transient(err) && ctx.Err() == nil {
			select {
			case <-time.After(again):
				continue
			case <-wait:
			}
		}
		var none T
		return none, fmt.Errorf("ask systemd for %s: %w", what, err)
	}
}

func askOnce[T any](ctx context.Context, question func(*dbus.Conn) (T, error)) (T, error) {
	c, err := connect(ctx)
	if err != nil {
		var none T
		return none, err
	}
	defer c.Close()
	return question(c)
}

// transient errors are those of a manager that executes itself anew: it
// refuses connections, and those that it had end in whatever they were doing. None
// is closed by ourselves before it has its answer, whatever that error's name says.
func transient(err error) bool {
	for _, such := range []error{syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EPIPE, io.EOF, os.ErrClosed, godbus.ErrClosed} {
		if errors.Is(err, such) {
			return true
		}
	}
	return false
}

// Fate is what becomes of a unit's main process and of the others that it
// started.
type Fate int

// The fates.
const (
	Stopped  Fate = iota // nobody comes after the main process
	Replaced             // another comes, and systemd ends the rest in between
	Left                 // another comes, and finds the rest alive
)

// FateOf asks what systemd is doing to a unit whose main process has been told
// to end. Without a job, when it was a hand, a limit or the watchdog that told
// it, Restart= decides.
func FateOf(ctx context.Context, unit string) (Fate, error) {
	answer, err := Job(ctx, unit)
	if err != nil {
		return Stopped, err
	}
	switch answer.Job {
	case "restart", "start":
	case "":
		if again, err := Restarts(ctx, unit); err != nil || !again {
			return Stopped, err
		}
	default:
		return Stopped, nil
	}
	mode, err := property[string](ctx, unit, "KillMode")
	if err != nil || mode != "process" && mode != "none" {
		return Replaced, err
	}
	return Left, nil
}
