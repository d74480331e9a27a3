package cli

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"fugue/internal/control"
	"fugue/internal/sweep"
	"fugue/internal/systemd"
)

func (a *app) sweepCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sweep [NAME]",
		Short: "End the workers that a dead master left behind",
		Long: `End the workers that a dead master left behind, where nobody is to take them over.

It belongs into the unit of a pool, without a shell around it:

  ExecStopPost=+/usr/bin/fugue sweep NAME

There it ends all processes of the unit if the unit is being stopped. In a
restart, or when the master has died, it leaves them to the next master, and
watches until that is there: should the unit come to rest without one, it ends
them then. The + lets it ask systemd, which is right with every User=.

By hand it ends the workers that a dead master of the pool NAME wrote down. A
pool whose master lives is left alone, exit 5: use fugue stop.`,
		Args:              arguments(cobra.MaximumNArgs(1)),
		ValidArgsFunction: a.completeDeadPools,
	}
	caretaker := cmd.Flags().String("caretaker", "", "")
	_ = cmd.Flags().MarkHidden("caretaker") // what sweep leaves behind is started so
	cmd.RunE = action(func(ctx context.Context, cmd *cobra.Command, args []string) error {
		o := sweep.Options{Unit: *caretaker, Log: newLog(a.err, os.Getenv), Env: os.Getenv}
		if len(args) > 0 {
			o.Name = args[0]
		}
		if o.Unit != "" {
			ctx, stop := interruptible(ctx)
			defer stop()
			o.Known = a.leftoversOfUnit(o.Name)
			return sweep.Caretaker(ctx, o)
		}
		if o.Unit = ownUnit(); o.Unit != "" {
			o.Known = a.leftoversOfUnit(o.Name)
			return sweep.Unit(ctx, o)
		}
		switch {
		case os.Getenv("SERVICE_RESULT") != "":
			return errors.New("sweep the unit: this is not the process that systemd started; let the unit have ExecStopPost=+/usr/bin/fugue sweep NAME without a shell around it")
		case o.Name == "":
			return usage(cmd, errors.New("say which pool: outside a unit it is sweep NAME"))
		}
		return a.sweepByHand(ctx, o)
	})
	return cmd
}

// ownUnit is the unit that systemd started this process for, or empty.
func ownUnit() string {
	cgroup, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return ""
	}
	return systemd.UnitOf(os.Getenv, os.Getpid(), string(cgroup))
}

// leftoversOfUnit are the workers that the unit's master wrote down. A name
// that cannot be a pool's has none: a sweep has work to do all the same.
func (a *app) leftoversOfUnit(name string) func() map[int]sweep.Leftover {
	dir := control.OwnDir(os.Getenv)
	if name != "" {
		dir, _ = control.Dir(os.Getenv, os.Geteuid(), name)
	}
	return a.leftovers(dir)
}

func (a *app) leftovers(dir string) func() map[int]sweep.Leftover {
	if a.deps.Leftovers == nil || dir == "" {
		return nil
	}
	return func() map[int]sweep.Leftover { return a.deps.Leftovers(dir) }
}

// sweepByHand holds the pool's lock meanwhile: a master that starts now would
// take over what is being ended.
func (a *app) sweepByHand(ctx context.Context, o sweep.Options) error {
	e, err := a.finder.Find(o.Name)
	if err != nil {
		return err
	}
	if e.Running {
		return control.Errorf(control.ExitUndone, "the master of pool %s runs, so nothing was ended; use: fugue stop %s", e, e.Name)
	}
	var r sweep.Result
	if e.Dir != "" {
		hold, err := control.Lock(e.Dir)
		if err != nil {
			return fmt.Errorf("sweep pool %s: %w", e.Name, err)
		}
		defer hold.Release()
		ctx, stop := interruptible(ctx)
		defer stop()
		o.Known = a.leftovers(e.Dir)
		if r, err = sweep.Hand(ctx, o); err != nil {
			return fmt.Errorf("sweep pool %s: %w", e.Name, err)
		}
	}
	_, err = fmt.Fprintln(a.out, sweptText(e.Name, r))
	return err
}

func sweptText(pool string, r sweep.Result) string {
	workers := "workers"
	if r.Ended == 1 {
		workers = "worker"
	}
	switch {
	case r.Ended == 0:
		return pool + ": nothing is left of a dead master"
	case r.Killed > 0:
		return fmt.Sprintf("%s: ended %d %s of a dead master; %d had to be killed", pool, r.Ended, workers, r.Killed)
	}
	return fmt.Sprintf("%s: ended %d %s of a dead master", pool, r.Ended, workers)
}
