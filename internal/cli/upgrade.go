package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"fugue/internal/config"
	"fugue/internal/control"
)

func (a *app) upgradeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "upgrade [NAME | --all]",
		Short: "Hand a pool over to the fugue that is on disk now",
		Long: `Replace the running master by the program that is installed now, as the same
process: workers, sockets and connections do not notice. The new program reads
the pool's state first, as a rehearsal; if it cannot, or cannot be executed,
the running master stays and this command exits 5 with the new program's own
words.

A change that runs is waited for. Interrupting this command cancels nothing.

With --all every pool that runs is upgraded, those of /run/fugue for root: a line
for each, exit 0 only if all were. Packages do this after they have installed a
new fugue.`,
		Args:              arguments(cobra.MaximumNArgs(1)),
		ValidArgsFunction: a.completePools,
	}
	output := outputFlag(cmd)
	all := cmd.Flags().Bool("all", false, "upgrade every pool that runs")
	timeout := cmd.Flags().String("timeout", "infinity", "with --all: how `LONG` to wait for verdicts, as in 15min")
	cmd.RunE = action(func(ctx context.Context, cmd *cobra.Command, args []string) error {
		patience, err := config.ParseDuration(*timeout)
		switch {
		case err != nil:
			return usage(cmd, fmt.Errorf("--timeout: %w", err))
		case *all && len(args) > 0:
			return usage(cmd, fmt.Errorf("--all and %s: name a pool, or say --all", args[0]))
		case !*all && cmd.Flags().Changed("timeout"):
			return usage(cmd, errors.New("--timeout is for --all"))
		case *all:
			return a.upgradeAll(ctx, *output, patience)
		}
		return a.change(ctx, args, "upgrade", *output, func(ctx context.Context, c *control.Client) (*control.Stream, error) {
			return c.Upgrade(ctx)
		})
	})
	return cmd
}
