package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"fugue/internal/control"
)

func (a *app) eventsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:               "events [NAME]",
		Short:             "Follow what happens to a pool",
		Long:              "Print what happens to a pool, until it ends or you interrupt. When another\nmaster takes the place of the one that runs, the events go on with that one's.",
		Args:              arguments(cobra.MaximumNArgs(1)),
		ValidArgsFunction: a.completePools,
	}
	output := outputFlag(cmd)
	cmd.RunE = action(func(ctx context.Context, _ *cobra.Command, args []string) error {
		ctx, stop := interruptible(ctx)
		defer stop()
		c, err := a.dial(args)
		if err != nil {
			return err
		}
		err = c.Watch(ctx, func(e control.Event, line []byte) error {
			if output.json() {
				return a.printRaw(line)
			}
			_, err := fmt.Fprintf(a.out, "%s  %s\n", e.Time.Local().Format("15:04:05.000"), eventLine(e))
			return err
		})
		if ctx.Err() != nil {
			return nil
		}
		return err
	})
	return cmd
}

// eventLine is an event in words, without its time.
func eventLine(e control.Event) string {
	text := e.Kind
	switch {
	case e.Progress != nil:
		return progressLine(e)
	case e.Change != nil:
		text = fmt.Sprintf("%s %d %s", e.Change.Kind, e.Change.Number, e.Change.State)
		if e.Change.Message != "" {
			text += ": " + e.Change.Message
		}
	case e.Slot > 0:
		text = fmt.Sprintf("worker %d", e.Slot)
		if e.PID > 0 {
			text += fmt.Sprintf(" (pid %d, generation %d)", e.PID, e.Generation)
		}
		text += ": " + e.Kind
		fallthrough
	default:
		if e.Text != "" {
			text += ": " + e.Text
		}
	}
	return printable(text)
}
