package cli

import (
	"context"

	"github.com/spf13/cobra"

	"fugue/internal/control"
)

func (a *app) cancelCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:               "cancel [NAME]",
		Short:             "Undo the reload that runs",
		Args:              arguments(cobra.MaximumNArgs(1)),
		ValidArgsFunction: a.completePools,
	}
	output := outputFlag(cmd)
	cmd.RunE = action(func(ctx context.Context, _ *cobra.Command, args []string) error {
		return a.change(ctx, args, "cancel", *output, func(ctx context.Context, c *control.Client) (*control.Stream, error) {
			return c.Cancel(ctx)
		})
	})
	return cmd
}
