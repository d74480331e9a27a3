package cli

import (
	"context"
	"errors"
	"os"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"fugue/internal/daemon"
	"fugue/internal/handover"
)

// background runs this command line again as a daemon and waits until the pool
// is ready, or for the reason why it is not.
func (a *app) background(ctx context.Context, cmd *cobra.Command) error {
	if underSystemd(os.Getenv) || ownUnit() != "" {
		return usage(cmd, errors.New("--daemonize is not for systemd: Type=notify wants fugue in the foreground and hears from it when the pool is ready; leave the flag out"))
	}
	if os.Getpid() == 1 {
		return usage(cmd, errors.New("--daemonize is not for PID 1: the container ends with it; leave the flag out"))
	}
	dir, err := workDir(os.Getenv)
	if err != nil {
		return err
	}
	// Absolute: the daemon is in another directory, and is upgraded by it.
	path, err := handover.Binary(os.Args[0])
	if err != nil {
		return err
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	code, err := daemon.Start(ctx, path, append([]string{path}, os.Args[1:]...), dir, a.err)
	if err != nil {
		return err
	}
	return ended(code) // it has said why
}

// warnings lets the caller of a daemon read what it would have seen of the log
// in the foreground, as far as that is worth a word.
type warnings struct{ to *daemon.Daemon }

// Levels implements logrus.Hook.
func (warnings) Levels() []logrus.Level {
	return []logrus.Level{logrus.PanicLevel, logrus.FatalLevel, logrus.ErrorLevel, logrus.WarnLevel}
}

// Fire implements logrus.Hook.
func (w warnings) Fire(e *logrus.Entry) error {
	text, err := lines{}.Format(e)
	if err == nil {
		_, err = w.to.Write(text)
	}
	return err
}
