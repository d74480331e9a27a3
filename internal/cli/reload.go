package cli

import (
	"context"

	"github.com/spf13/cobra"

	"fugue/internal/control"
)

func (a *app) reloadCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "reload [NAME]",
		Short: "Move a pool to a new generation, and say how it went",
		Long: `Start workers of a new generation, and stop the old ones as the new ones
prove themselves. Waits for the verdict: exits 0 when the new generation
serves, 5 when it failed and the old one serves as before, 78 when the
configuration is wrong and nothing was tried.

A reload that runs already is waited for first. Interrupting this command
cancels nothing.`,
		Args:              arguments(cobra.MaximumNArgs(1)),
		ValidArgsFunction: a.completePools,
	}
	var req control.ReloadRequest
	cmd.Flags().BoolVar(&req.Now, "now", false, "cancel the reload that runs instead of waiting for it")
	cmd.Flags().BoolVar(&req.NoWait, "no-wait", false, "when a change runs, exit 75 instead of waiting for it")
	output := outputFlag(cmd)
	cmd.RunE = action(func(ctx context.Context, cmd *cobra.Command, args []string) error {
		return a.change(ctx, args, "reload", *output, func(ctx context.Context, c *control.Client) (*control.Stream, error) {
			return c.Reload(ctx, req)
		})
	})
	return cmd
}
