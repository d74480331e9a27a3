package cli

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"fugue/worker"
)

// notifyCommand is for workers in languages that cannot send a datagram to a
// unix socket. It is the one command that a worker runs, and asks no master.
func (a *app) notifyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "notify NAME=VALUE… | -",
		Short: "Tell the manager of this worker something: READY=1, STATUS=text, WATCHDOG=1",
		Long: `Sends its words as one datagram to NOTIFY_SOCKET, as sd_notify(3) does. With "-"
every line of standard input is one, until it ends: a worker that pings keeps one
such process, which is taken for the worker itself.`,
		Args:              arguments(cobra.MinimumNArgs(1)),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.RunE = action(func(_ context.Context, cmd *cobra.Command, args []string) error {
		if os.Getenv("NOTIFY_SOCKET") == "" {
			return errors.New("there is nobody to tell: NOTIFY_SOCKET is not set, as it is in a worker")
		}
		if len(args) == 1 && args[0] == "-" {
			return notifyLines(cmd.InOrStdin())
		}
		for _, word := range args {
			if !strings.Contains(word, "=") {
				return usage(cmd, errors.New("want NAME=VALUE, not "+word))
			}
		}
		return worker.Notify(strings.Join(args, "\n"))
	})
	return cmd
}

// notifyLines goes on after a line that could not be sent: the next may get through.
func notifyLines(in io.Reader) error {
	var failed error
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		if line := lines.Text(); line != "" {
			failed = worker.Notify(line)
		}
	}
	return errors.Join(failed, lines.Err())
}
