package cli

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"fugue/internal/control"
)

func (a *app) scaleCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "scale [NAME] N|+N|-N",
		Short: "Have more or fewer workers",
		Long: `Have N workers, or N more or fewer than now, and wait until they are ready.
The number lasts until the configuration names another.`,
		Example:           "  fugue scale web 8\n  fugue scale web -2",
		Args:              arguments(cobra.RangeArgs(1, 2)),
		ValidArgsFunction: a.completePools,
	}
	output := outputFlag(cmd)
	cmd.RunE = action(func(ctx context.Context, cmd *cobra.Command, args []string) error {
		last := len(args) - 1
		req, err := scaleRequest(args[last])
		if err != nil {
			return usage(cmd, err)
		}
		return a.change(ctx, args[:last], "scale", *output, func(ctx context.Context, c *control.Client) (*control.Stream, error) {
			return c.Scale(ctx, req)
		})
	})
	return cmd
}

// scaleRequest reads N, +N or -N.
func scaleRequest(arg string) (control.ScaleRequest, error) {
	n, err := strconv.ParseInt(arg, 10, 32)
	if err != nil {
		return control.ScaleRequest{}, fmt.Errorf("%q is not a number of workers: say N, +N or -N", arg)
	}
	return control.ScaleRequest{N: int(n), Relative: arg[0] == '+' || arg[0] == '-'}, nil
}
