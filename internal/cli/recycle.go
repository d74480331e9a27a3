package cli

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"fugue/internal/control"
)

func (a *app) recycleCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "recycle [NAME] [SLOT...]",
		Short: "Replace workers by fresh ones of the same release",
		Long: `Replace the workers in these slots, or all of them, one after another: the next
is told to stop only when another is available in its place. Wait until that is
done. A failing worker ends it, and those that are left serve on.`,
		Example:           "  fugue recycle web\n  fugue recycle web 2 3",
		ValidArgsFunction: a.completePools,
	}
	output := outputFlag(cmd)
	cmd.RunE = action(func(ctx context.Context, cmd *cobra.Command, args []string) error {
		pool, slots, err := recycleArguments(args)
		if err != nil {
			return usage(cmd, err)
		}
		return a.change(ctx, pool, "recycle", *output, func(ctx context.Context, c *control.Client) (*control.Stream, error) {
			return c.Recycle(ctx, control.RecycleRequest{Slots: slots})
		})
	})
	return cmd
}

// recycleArguments tells the name from the slots: it is the first argument, if
// that is no number.
func recycleArguments(args []string) (pool []string, slots []int, err error) {
	if len(args) > 0 {
		if _, err := strconv.Atoi(args[0]); err != nil {
			pool, args = args[:1], args[1:]
		}
	}
	for _, arg := range args {
		n, err := strconv.ParseInt(arg, 10, 32)
		if err != nil || n < 1 {
			return nil, nil, fmt.Errorf("%q is not the slot of a worker: a number from 1", arg)
		}
		slots = append(slots, int(n))
	}
	return pool, slots, nil
}
