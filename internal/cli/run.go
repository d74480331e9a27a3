package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"fugue/internal/config"
	"fugue/internal/daemon"
)

func (a *app) runCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run [-c FILE] [flags] [--] [COMMAND...]",
		Short: "Run a pool",
		Long: `Run a pool: keep its workers alive behind its sockets until it is stopped.

Flags say the same as the keys of the file, by the same names, and win over it.
They end at the first word of COMMAND. Sockets that systemd passes are adopted;
the others are bound.`,
		Example: "  fugue run -n 4 -l 8080 ./server --fd {fd}\n  fugue run --config /etc/fugue/web.toml",
		Args:    cobra.ArbitraryArgs,
	}
	f := cmd.Flags()
	f.SetInterspersed(false)
	f.SortFlags = false
	var o RunOptions
	f.StringVarP(&o.File, "config", "c", "", "config file; its drop-ins are FILE.d/*.toml")
	f.StringVar(&o.Config.Name, "name", "", "name of the pool (default: from the file or the command)")
	f.StringArrayVarP(&o.Config.Listen, "listen", "l", nil, "[NAME=]ADDRESS to listen on, as in ListenStream=; can be given again")
	var daemonize bool
	f.BoolVar(&daemonize, "daemonize", false, "run in the background; return when the pool is ready, or with the reason")
	f.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		return pflag.NormalizedName(strings.ReplaceAll(name, "-", "_")) // --pid-file is pid_file
	})
	var said overrides
	cmd.Long += "\n\nThe other keys, each a flag too (--reload.max_surge 2):\n" + said.flags(cmd)
	_ = cmd.MarkFlagFilename("config", "toml")
	cmd.RunE = action(func(ctx context.Context, cmd *cobra.Command, args []string) error {
		if ok, err := daemon.GoOn(os.LookupEnv, os.Args); ok || err != nil {
			return err
		}
		for _, word := range args {
			said = append(said, config.Override{Key: "command", Value: word, Flag: "command line"})
		}
		o.Config.Overrides = said
		if o.File == "" && len(args) == 0 {
			return usage(cmd, errors.New("there is nothing to run: give --config FILE or a COMMAND"))
		}
		if o.File == "" && len(args) == 1 && filepath.Ext(args[0]) == ".toml" {
			return usage(cmd, fmt.Errorf("%q is no command: a configuration is given as --config %[1]s", args[0]))
		}
		if daemonize && !daemon.Is(os.LookupEnv) {
			return a.background(ctx, cmd)
		}
		if err := a.born(); err != nil {
			return err
		}
		var err error
		if o.Daemon, err = daemon.Take(os.LookupEnv); err != nil {
			return err
		}
		return a.runPool(ctx, o)
	})
	return cmd
}

func (a *app) born() error {
	if a.deps.Born == nil {
		return nil
	}
	return a.deps.Born()
}

// runPool runs a pool to its end. Where it fails under systemd it says so first
// and ends a little later: behind a .socket unit a hasty exit trips the trigger
// limit, and from then on connections are refused for good.
func (a *app) runPool(ctx context.Context, o RunOptions) error {
	if a.deps.Run == nil {
		return errors.New("this program was built without the part that runs pools")
	}
	err := failure(a.deps.Run(ctx, o))
	if o.Daemon != nil {
		code := report(io.MultiWriter(a.err, o.Daemon), err)
		o.Daemon.End(code)
		return ended(code)
	}
	var f *fault
	if errors.As(err, &f) && f.exit != 0 && underSystemd(os.Getenv) {
		report(a.err, err)
		<-time.After(250 * time.Millisecond)
		return &fault{exit: f.exit}
	}
	return err
}

// ended is how a command ends that has said all.
func ended(code int) error {
	if code == 0 {
		return nil
	}
	return &fault{exit: code}
}

func underSystemd(getenv func(string) string) bool {
	return getenv("NOTIFY_SOCKET") != "" || getenv("LISTEN_FDS") != ""
}

// overrides collects the flags that are keys of the file, in the order said.
type overrides []config.Override

// keyFlag is the flag of one key.
type keyFlag struct {
	all  *overrides
	key  string // "" for --set, whose value begins with the key
	kind config.Kind
}

func (k keyFlag) String() string { return "" }

// Type is what help calls the value.
func (k keyFlag) Type() string {
	switch {
	case k.key == "":
		return "KEY=VALUE"
	case k.kind == config.Number:
		return "N"
	case k.kind == config.Boolean:
		return "BOOL"
	case k.kind == config.Pairs:
		return "NAME=VALUE"
	}
	return "VALUE"
}

// Set is pflag's. The values are judged by the config package, together with
// those of the file.
func (k keyFlag) Set(s string) error {
	o := config.Override{Key: k.key, Value: s, Flag: "--" + k.key}
	if k.key == "" {
		key, value, ok := strings.Cut(s, "=")
		if !ok || key == "" {
			return errors.New("it must be KEY=VALUE")
		}
		o = config.Override{Key: key, Value: value, Flag: "--set " + key}
	}
	*k.all = append(*k.all, o)
	return nil
}

// flags adds a flag for every key of the file that can be said in one, and
// --set for those of listeners. It returns the names of those that help does
// not list one a line.
func (o *overrides) flags(cmd *cobra.Command) string {
	help := map[string]string{
		"workers":           "number of workers, or auto: one a CPU",
		"directory":         "where workers run; symlinks are resolved anew at each reload",
		"user":              "whom workers run as",
		"group":             "the group of workers",
		"environment":       "a variable for workers; can be given again",
		"environment_files": "a file of variables, read at each reload; can be given again",
	}
	short := map[string]string{"workers": "n", "environment": "e"}
	f := cmd.Flags()
	var rest []string
	for _, k := range config.Keys() {
		if k.Name == "command" {
			continue
		}
		f.VarP(keyFlag{o, k.Name, k.Kind}, k.Name, short[k.Name], help[k.Name])
		flag := f.Lookup(k.Name)
		if k.Kind == config.Boolean {
			flag.NoOptDefVal = "true"
		}
		if help[k.Name] == "" {
			flag.Hidden = true
			rest = append(rest, k.Name)
		}
	}
	f.Var(keyFlag{all: o}, "set", "any key of the file, those of listeners too: listen.NAME.backlog=64")
	return "  " + wrap(strings.Join(rest, " "), 76, "  ")
}
