package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"fugue/internal/control"
	"fugue/internal/systemd"
)

// askTime is how long systemd may take to say what it does to the unit.
const askTime = 5 * time.Second

// stopFromUnit is for ExecStop=+ of a unit with User=, whose master cannot ask
// systemd where there is no D-Bus: as root it asks for it, and waits for its
// end. Whatever goes wrong is said and is no error: then systemd goes on to
// send the stop signal, as it does without ExecStop=.
func (a *app) stopFromUnit(ctx context.Context, args []string) error {
	unit := ownUnit()
	if unit == "" {
		return control.Errorf(control.ExitUsage, "stop --from-unit is for systemd to call: ExecStop=+/usr/bin/fugue stop --from-unit NAME, without a shell around it")
	}
	if os.Getenv("MAINPID") == "" {
		return nil // the master has ended by itself
	}
	err := a.tellJob(ctx, unit, args)
	if err != nil {
		newLog(a.err, os.Getenv).Warnf("tell the master why it is stopped: %v; leaving the stop to systemd", err)
	}
	return nil
}

// tellJob tells the master what systemd is doing to its unit, and waits until
// it has ended, for as long as systemd lets us.
func (a *app) tellJob(ctx context.Context, unit string, args []string) error {
	c, err := a.dialOwn(args)
	if err != nil {
		return err
	}
	asking, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	fate, err := systemd.FateOf(asking, unit)
	if err != nil {
		return err
	}
	request := control.JobRequest{Fate: "restart", Leave: fate == systemd.Left}
	if fate == systemd.Stopped {
		request.Fate = "stop"
	}
	gone := c.Gone()
	s, err := c.Job(ctx, request)
	if err != nil {
		return err
	}
	s.Close()
	return gone(ctx)
}

// dialOwn finds the pool of the unit that we are a command of: by its name, or
// by its runtime directory.
func (a *app) dialOwn(args []string) (*control.Client, error) {
	if len(args) > 0 {
		return a.finder.Dial(args[0])
	}
	dir := control.OwnDir(os.Getenv)
	if dir == "" {
		return nil, errors.New("find the pool: the unit has no RuntimeDirectory=fugue/NAME; name the pool in ExecStop=")
	}
	return a.finder.Dial(filepath.Base(dir))
}
