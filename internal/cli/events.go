package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"fugue/internal/control"
)

func (a *app) eventsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:               "events [NAME]",
		Short:             "Follow what happens to a pool",
		Long:              "Print what happens to a pool, until it ends or you interrupt.",
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
		s, err := c.Events(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		defer s.Close()
		for {
			e, line, err := s.Next()
			switch {
			case ctx.Err() != nil, errors.Is(err, io.EOF):
				return nil
			case errors.Is(err, io.ErrUnexpectedEOF):
				return fmt.Errorf("the master of pool %s went away", c.Entry().Name)
			case err != nil:
				return err
			}
			if output.json() {
				err = a.printRaw(line)
			} else {
				_, err = fmt.Fprintf(a.out, "%s  %s\n", e.Time.Local().Format("15:04:05.000"), eventLine(e))
			}
			if err != nil {
				return err
			}
		}
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
