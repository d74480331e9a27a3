package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"fugue/internal/config"
	"fugue/internal/control"
	"fugue/internal/master"
	"fugue/internal/release"
)

// checked is the answer of check for machines.
type checked struct {
	File     string         `json:"file"`
	OK       bool           `json:"ok"`
	Errors   []checkedError `json:"errors"`
	Warnings []checkedError `json:"warnings"`
	Command  []string       `json:"command,omitempty"` // with the arguments of the preset
}

type checkedError struct {
	Path    string `json:"path"`
	Line    int    `json:"line"` // from 1; 0 where there is no place in the file
	Col     int    `json:"col"`  // from 1, in bytes
	Message string `json:"message"`
}

func (a *app) checkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "Check a configuration file",
		Long:  "Read a configuration file and its drop-ins as `fugue run` would, look for the\nprogram, directory, users and files that it names, and exit 78 if anything is\nwrong. What is allowed and most likely not meant is a warning. Nothing is started and no address is bound.",
		Args:  arguments(cobra.ExactArgs(1)),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"toml"}, cobra.ShellCompDirectiveFilterFileExt
		},
	}
	output := outputFlag(cmd)
	cmd.RunE = action(func(_ context.Context, _ *cobra.Command, args []string) error {
		cfg, err := config.Load(args[0], config.Options{})
		var rel *release.Release
		var warnings []config.Warning
		if err == nil {
			rel, err = master.Check(cfg)
			warnings = cfg.Warnings()
		}
		if output.json() {
			return a.checkedJSON(args[0], rel, warnings, err)
		}
		for _, w := range warnings {
			_, _ = fmt.Fprintln(a.err, printable(w.String()))
		}
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(a.out, "%s: ok (pool %s, %s)\n", printable(args[0]), printable(cfg.Name), count(cfg.Workers, "worker"))
		if err == nil && cfg.Preset != "" {
			_, err = fmt.Fprintf(a.out, "preset %s runs: %s\n", cfg.Preset, printable(strings.Join(quoted(rel), " ")))
		}
		return err
	})
	return cmd
}

// quoted are the words of the command as they can be told apart. Placeholders
// stand for what only a worker knows.
func quoted(rel *release.Release) (words []string) {
	for _, t := range rel.Args {
		w := t.String()
		if strings.ContainsAny(w, " \t\"'\\$") || w == "" {
			w = strconv.Quote(w)
		}
		words = append(words, w)
	}
	return words
}

func (a *app) checkedJSON(file string, rel *release.Release, warnings []config.Warning, err error) error {
	var all config.Errors
	if err != nil && !errors.As(err, &all) {
		return err
	}
	c := checked{File: file, OK: err == nil, Errors: []checkedError{}, Warnings: []checkedError{}}
	for _, w := range warnings {
		c.Warnings = append(c.Warnings, checkedError{Path: w.Pos.Path, Line: w.Pos.Line, Col: w.Pos.Col, Message: w.Msg})
	}
	if err == nil {
		for _, t := range rel.Args {
			c.Command = append(c.Command, t.String())
		}
	}
	for _, e := range all {
		c.Errors = append(c.Errors, checkedError{Path: e.Path, Line: e.Line, Col: e.Col, Message: e.Msg})
	}
	if err := a.printJSON(c); err != nil || c.OK {
		return err
	}
	return &fault{exit: control.ExitBadInput}
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
