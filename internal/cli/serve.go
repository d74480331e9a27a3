package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"fugue/internal/config"
	"fugue/internal/logs"
	"fugue/internal/master"
	"fugue/internal/proc"
	"fugue/internal/sweep"
)

// Born makes sure that this process came into being with the master's
// signals blocked, and executes the program anew where it did not: so it
// comes before everything that happens once.
func Born() error { return proc.EnsureBlocked(master.Signals()) }

// Run is the master of a pool, for Deps.
func Run(version string) func(ctx context.Context, o RunOptions) error {
	return func(ctx context.Context, o RunOptions) error {
		wd, err := workDir(os.Getenv)
		if err != nil {
			return err
		}
		// Who read our output may go: that must not end the pool. Workers get
		// the signal's usual meaning back before their command runs.
		signal.Ignore(syscall.SIGPIPE)
		log, own := ownLog(os.Getenv)
		defer own.Flush() // before the last word, which is ours
		ready := func() {}
		if d := o.Daemon; d != nil {
			wd, ready = d.Dir(), d.Ready
			log.AddHook(warnings{d})
			if o.File != "" && !filepath.IsAbs(o.File) {
				o.File = filepath.Join(wd, o.File)
			}
		}
		if o.Config.WorkDir == "" {
			o.Config.WorkDir = wd
		}
		return master.Serve(ctx, master.Settings{
			Ready:   ready,
			Load:    func() (*config.Config, error) { return config.Load(o.File, o.Config) },
			Name:    func() (string, error) { return config.Name(o.File, o.Config) },
			Version: version,
			Log:     log,
			Own:     own,
			Watcher: sweep.IsCaretaker,
		})
	}
}

// workDir is the directory that the pool was started in, under the name that
// the user gave it: a master that stays in the real directory would start old
// code after a deploy has moved the link.
func workDir(getenv func(string) string) (string, error) {
	here, err := os.Stat(".")
	if err != nil {
		return "", fmt.Errorf("look at the current directory: %w", err)
	}
	if pwd := getenv("PWD"); pwd != "" {
		if named, err := os.Stat(pwd); err == nil && os.SameFile(here, named) {
			return pwd, nil
		}
	}
	return os.Getwd()
}

// ownLog is the master's own log, until its configuration says more.
func ownLog(getenv func(string) string) (*logrus.Logger, *logs.Own) {
	log := logrus.New()
	if getenv("FUGUE_DEBUG") != "" {
		log.SetLevel(logrus.DebugLevel)
	}
	return log, logs.OwnStderr(log)
}

// newLog is the log of a command: with priorities and nothing else where the
// journal keeps the time (sd-daemon(3)), with the time elsewhere.
func newLog(w io.Writer, getenv func(string) string) *logrus.Logger {
	log := logrus.New()
	log.SetOutput(w)
	log.SetFormatter(lines{journal: getenv("JOURNAL_STREAM") != ""})
	if getenv("FUGUE_DEBUG") != "" {
		log.SetLevel(logrus.DebugLevel)
	}
	return log
}

// lines is a log of plain lines.
type lines struct{ journal bool }

// Format implements logrus.Formatter.
func (l lines) Format(e *logrus.Entry) ([]byte, error) {
	var b bytes.Buffer
	prefix := e.Time.Format(time.DateTime+".000") + " "
	if l.journal {
		prefix = "<6>"
		switch e.Level {
		case logrus.PanicLevel, logrus.FatalLevel, logrus.ErrorLevel:
			prefix = "<3>"
		case logrus.WarnLevel:
			prefix = "<4>"
		case logrus.DebugLevel, logrus.TraceLevel:
			prefix = "<7>"
		}
	}
	for line := range strings.Lines(e.Message) {
		b.WriteString(prefix + printable(strings.TrimRight(line, "\n")) + "\n")
	}
	return b.Bytes(), nil
}

// Leftovers are the workers that a master of the runtime directory wrote down,
// for Deps.
func Leftovers(dir string) map[int]sweep.Leftover {
	known := map[int]sweep.Leftover{}
	for _, l := range master.Leftovers(dir) {
		known[l.PID] = sweep.Leftover{Start: l.Start, Signal: l.Signal, Timeout: l.Timeout}
	}
	return known
}
