package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"fugue/internal/control"
)

func (a *app) stopCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stop [NAME]",
		Short: "End a pool",
		Long: `Stop all workers as they ask to be stopped, and then the pool.

A pool that systemd runs is stopped through systemd, by root; for others this
command only says how.

In a unit with User=, where the master may not ask systemd and no D-Bus does it
for it, --from-unit tells it whether the unit is being stopped or restarted:

  ExecStop=+/usr/bin/fugue stop --from-unit NAME`,
		Args:              arguments(cobra.MaximumNArgs(1)),
		ValidArgsFunction: a.completePools,
	}
	output := outputFlag(cmd)
	fromUnit := cmd.Flags().Bool("from-unit", false, "for ExecStop=+ of the pool's unit: tell the master systemd's job")
	cmd.RunE = action(func(ctx context.Context, _ *cobra.Command, args []string) error {
		if *fromUnit {
			return a.stopFromUnit(ctx, args)
		}
		c, err := a.dial(args)
		if err != nil {
			return err
		}
		st, err := c.Status(ctx)
		if err != nil {
			return err
		}
		if st.Unit != "" {
			return a.stopUnit(ctx, st, systemctlStop(st.Unit, c.Entry().Dir, os.Getenv, os.Geteuid()))
		}
		gone := c.Gone()
		err = a.change(ctx, []string{c.Entry().Name}, "stop", *output, func(ctx context.Context, c *control.Client) (*control.Stream, error) {
			return c.Stop(ctx)
		})
		if err != nil {
			return err
		}
		// So that the next command finds its name and addresses free.
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		if gone(ctx) != nil {
			return fmt.Errorf("pool %s has stopped, but its master (pid %d) is still there", c.Entry().Name, c.Entry().PID)
		}
		return nil
	})
	return cmd
}

// unitStop is the command line that stops a unit.
type unitStop struct {
	args    []string
	allowed bool // to us, without asking anybody
}

// systemctlStop knows a unit of the user's own manager by where its pool lives.
func systemctlStop(unit, dir string, getenv func(string) string, euid int) unitStop {
	xdg := getenv("XDG_RUNTIME_DIR")
	if xdg != "" && strings.HasPrefix(dir, strings.TrimRight(xdg, "/")+"/") && euid != 0 {
		return unitStop{args: []string{"systemctl", "--user", "stop", "--", unit}, allowed: true}
	}
	return unitStop{args: []string{"systemctl", "stop", "--", unit}, allowed: euid == 0}
}

func (u unitStop) String() string {
	return strings.ReplaceAll(strings.Join(u.args, " "), " -- ", " ")
}

func (a *app) stopUnit(ctx context.Context, st control.Status, u unitStop) error {
	if !u.allowed {
		return control.Errorf(control.ExitFailed, "systemd runs pool %s and would start it again; nothing was changed, use: %s", st.Pool, u)
	}
	cmd := exec.CommandContext(ctx, u.args[0], u.args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, a.out.Writer, a.err
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return control.Errorf(control.ExitFailed, "stop pool %s: %s: %w", st.Pool, u, err)
	}
	return err
}
