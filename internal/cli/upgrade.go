package cli

import (
	"context"

	"github.com/spf13/cobra"

	"fugue/internal/control"
)

func (a *app) upgradeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "upgrade [NAME]",
		Short: "Hand a pool over to the fugue that is on disk now",
		Long: `Replace the running master by the program that is installed now, as the same
process: workers, sockets and connections do not notice. The new program reads
the pool's state first, as a rehearsal; if it cannot, or cannot be executed,
the running master stays and this command exits 5 with the new program's own
words.

A change that runs is waited for. Interrupting this command cancels nothing.`,
		Args:              arguments(cobra.MaximumNArgs(1)),
		ValidArgsFunction: a.completePools,
	}
	output := outputFlag(cmd)
	cmd.RunE = action(func(ctx context.Context, _ *cobra.Command, args []string) error {
		return a.change(ctx, args, "upgrade", *output, func(ctx context.Context, c *control.Client) (*control.Stream, error) {
			return c.Upgrade(ctx)
		})
	})
	return cmd
}
