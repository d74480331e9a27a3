// Package cli is fugue's command line: one file a subcommand, words for humans,
// no supervision. Every error is said once on stderr and has an exit code that
// scripts can rely on; what workers wrote reaches a terminal only as printable
// text; output for machines never depends on where it goes.
package cli

import (
	"context"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"fugue/internal/config"
	"fugue/internal/control"
	"fugue/internal/daemon"
	"fugue/internal/sweep"
)

// Deps is what the command line needs from the rest of the program.
type Deps struct {
	Version string
	// Run is a pool's master; it returns when the pool has ended. Its error
	// decides the exit code: that of a *control.Error or of one with
	// ExitCode() int, 78 for a config.Errors, else 1.
	Run func(ctx context.Context, o RunOptions) error
	// Born comes before anything else in the commands that run a pool; it may
	// execute the program anew (see the function Born). nil does nothing.
	Born func() error
	// Leftovers are the workers that the master of a pool in this runtime
	// directory wrote down, by PID; nil: no master writes any down.
	Leftovers func(dir string) map[int]sweep.Leftover
	// Finder is where pools are looked for; nil: where this machine has them.
	Finder *control.Finder
}

// RunOptions is a pool as `fugue run` got it: what config.Load takes, so that a
// reload reads the file again under the same flags.
type RunOptions struct {
	File   string // path of the config file, or ""
	Config config.Options
	Daemon *daemon.Daemon `json:"-"` // nil: in the foreground
}

// Main runs one command line (os.Args[1:]) and returns its exit code.
func Main(args []string, deps Deps) int {
	a := newApp(deps, os.Stdout, os.Stderr)
	return a.main(context.Background(), args)
}

// Tree is the command line as data, for what is made from it: manual pages and
// the completions of shells.
func Tree(version string) *cobra.Command {
	root := newApp(Deps{Version: version}, os.Stdout, os.Stderr).root()
	root.InitDefaultCompletionCmd()
	return root
}

// app is one run of the command line.
type app struct {
	deps   Deps
	out    *screen
	err    io.Writer
	finder control.Finder
}

func newApp(deps Deps, out, err *os.File) *app {
	a := &app{deps: deps, out: newScreen(out, os.Getenv), err: err}
	if deps.Finder != nil {
		a.finder = *deps.Finder
	} else {
		a.finder = control.NewFinder(os.Getenv, os.Geteuid())
	}
	return a
}

func (a *app) main(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(separateNumbers(root, args))
	root.SetOut(a.out)
	root.SetErr(a.err)
	return report(a.err, root.ExecuteContext(ctx))
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "fugue",
		Short:         "A pool of workers behind one set of sockets, rolled without losing a connection",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(wrongFlag)
	root.AddCommand(
		a.runCommand(), a.statusCommand(), a.reloadCommand(), a.cancelCommand(), a.upgradeCommand(),
		a.scaleCommand(), a.recycleCommand(), a.stopCommand(), a.listCommand(), a.eventsCommand(), a.notifyCommand(),
		a.checkCommand(), a.unitsCommand(), a.doctorCommand(), a.sweepCommand(), a.demoCommand(), a.versionCommand(),
	)
	return root
}

// action makes a RunE of f: what f returns is no mistake in the usage, whereas
// cobra's own errors are.
func action(f func(ctx context.Context, cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		return failure(f(cmd.Context(), cmd, args))
	}
}

// arguments wraps cobra's checks of the number of arguments.
func arguments(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usage(cmd, err)
		}
		return nil
	}
}

// interruptible ends ctx at the first signal that asks to; the second one has
// its usual effect.
func interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// separateNumbers moves the -2 of `fugue scale web -2` behind a "--", for it is
// no flag.
func separateNumbers(root *cobra.Command, args []string) []string {
	if cmd, _, err := root.Find(args); err != nil || cmd.Name() != "scale" || slices.Contains(args, "--") {
		return args
	}
	var flags, numbers []string
	for _, arg := range args {
		if digits, ok := strings.CutPrefix(arg, "-"); ok {
			if _, err := strconv.ParseUint(digits, 10, 31); err == nil {
				numbers = append(numbers, arg)
				continue
			}
		}
		flags = append(flags, arg)
	}
	if numbers == nil {
		return args
	}
	return append(append(flags, "--"), numbers...)
}
