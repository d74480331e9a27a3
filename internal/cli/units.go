package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"fugue/internal/config"
	"fugue/internal/control"
	"fugue/internal/release"
	"fugue/units"
)

// unitsOptions are the flags of `fugue units`.
type unitsOptions struct {
	systemd               int
	user                  bool
	install, diff, remove bool
	because               string
	places                units.Places
}

func (a *app) unitsCommand() *cobra.Command {
	var o unitsOptions
	cmd := &cobra.Command{
		Use:   "units NAME|FILE",
		Short: "Write the systemd units of a pool",
		Long: `Print the units that systemd runs a pool by: a service, and with
[install] sockets = true a .socket unit for each listener. NAME is the file
/etc/fugue/NAME.toml.

With the package installed none of this is needed: a generator does the same for
all of /etc/fugue at boot and at each systemctl daemon-reload.

  fugue units web                 print them
  fugue units ./web.toml --diff   compare them with those that are installed
  fugue units ./web.toml --install
  fugue units ./web.toml --remove

Only units that fugue wrote are replaced or removed.`,
		Args: arguments(cobra.ExactArgs(1)),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"toml"}, cobra.ShellCompDirectiveFilterFileExt
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.systemd, "systemd", 0, "the version of systemd to write for; 0: the one that runs")
	f.BoolVar(&o.user, "user", false, "for your own systemd and not that of the system")
	f.BoolVar(&o.install, "install", false, "write them where systemd finds them")
	f.BoolVar(&o.diff, "diff", false, "print how they differ from those that are installed; exit 1 if they do")
	f.BoolVar(&o.remove, "remove", false, "remove those that --install wrote")
	f.StringVar(&o.because, "because", "", "")
	_ = f.MarkHidden("because") // the generator's units that only say why they are not the pool's
	cmd.MarkFlagsMutuallyExclusive("install", "diff", "remove")
	cmd.RunE = action(func(_ context.Context, _ *cobra.Command, args []string) error {
		if o.because != "" {
			return &fault{exit: control.ExitBadInput, text: o.because, plain: true}
		}
		if o.systemd == 0 {
			o.systemd = units.Running("/")
		} else if o.systemd < units.Oldest {
			return usage(cmd, fmt.Errorf("--systemd %d: units are written for %d and later", o.systemd, units.Oldest))
		}
		o.places = units.SystemPlaces(os.Getenv)
		if o.user {
			o.places = units.UserPlaces(os.Getenv)
		}
		return a.units(args[0], o)
	})
	return cmd
}

// configFile is the file that an argument NAME|FILE means.
func configFile(arg string) (string, error) {
	if strings.Contains(arg, "/") || strings.HasSuffix(arg, ".toml") {
		path, err := filepath.Abs(arg)
		return path, err
	}
	if !config.ValidName(arg) {
		return "", control.Errorf(control.ExitUsage, "%q is neither the name of a pool nor a file", arg)
	}
	path := filepath.Join("/etc/fugue", arg+".toml")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return "", control.Errorf(control.ExitNoPool, "there is no %s; give the file", path)
	}
	return path, nil
}

func (a *app) units(arg string, o unitsOptions) error {
	path, err := configFile(arg)
	if err != nil {
		return err
	}
	if o.remove {
		return a.removeUnits(path, o)
	}
	cfg, err := config.Load(path, config.Options{WorkDir: "/"})
	if err != nil {
		return err
	}
	all, err := units.Make(cfg, units.Options{Version: o.systemd, Program: ownProgram(), User: o.user, HasUser: release.HasUser})
	if err != nil {
		return err
	}
	for _, u := range all {
		if other := o.places.Find(u.Name); other != "" && !units.Runs(other, path) {
			return config.Errors{&config.Error{Path: path, Line: 1, Col: 1, Msg: units.Taken(u.Name, other).Error()}}
		}
	}
	switch {
	case o.install:
		return a.installUnits(path, all, o)
	case o.diff:
		return a.diffUnits(path, all, o)
	}
	return a.printUnits(all)
}

func (a *app) printUnits(all []units.Unit) error {
	for i, u := range all {
		if len(all) > 1 {
			sep := ""
			if i > 0 {
				sep = "\n"
			}
			fmt.Fprintf(a.out, "%s# %s\n", sep, u.Name)
		}
		if _, err := fmt.Fprint(a.out, u.Text); err != nil {
			return err
		}
	}
	return nil
}
