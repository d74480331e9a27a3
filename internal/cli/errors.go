package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"fugue/internal/config"
	"fugue/internal/control"
)

// fault is how a command ends when not well.
type fault struct {
	exit  int
	text  string // "" when everything has been said
	plain bool   // text stands by itself and gets no "fugue: "
}

func (f *fault) Error() string { return f.text }

// usage is a mistake in the command line itself.
func usage(cmd *cobra.Command, err error) error {
	return &fault{exit: control.ExitUsage, text: fmt.Sprintf("%v; see: %s --help", err, cmd.CommandPath())}
}

// wrongFlag is a mistake in a flag; it says which one was probably meant.
func wrongFlag(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) || unknown.GetSpecifiedShortnames() != "" {
		return usage(cmd, err)
	}
	var known []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
	name := unknown.GetSpecifiedName()
	if meant := config.Nearest(name, known); meant != "" {
		return usage(cmd, fmt.Errorf("unknown flag --%s, did you mean --%s", name, meant))
	}
	return usage(cmd, fmt.Errorf("unknown flag --%s", name))
}

// failure gives any error its exit code.
func failure(err error) error {
	if err == nil {
		return nil
	}
	f := &fault{exit: control.ExitFailed, text: err.Error()}
	var own *fault
	var asked *control.Error
	var bad config.Errors
	var one *config.Error
	var coded interface{ ExitCode() int }
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &bad):
		f.exit, f.text, f.plain = control.ExitBadInput, bad.Error(), true
	case errors.As(err, &one):
		f.exit, f.text, f.plain = control.ExitBadInput, one.Error(), true
	case errors.As(err, &coded): // before what it may wrap
		f.exit = coded.ExitCode()
	case errors.As(err, &asked):
		f.exit = asked.Exit
	}
	return f
}

// mistake puts what cobra says of one, with its proposals a line each, into one
// line of our own kind.
func mistake(err error) string {
	said, proposals, found := strings.Cut(err.Error(), "\n\nDid you mean this?\n")
	said = strings.ReplaceAll(strings.TrimSpace(said), "\n", " ")
	if !found {
		return said + "; "
	}
	return said + "; did you mean " + strings.Join(strings.Fields(proposals), " or ") + "? "
}

// report says an error, once, and returns the exit code.
func report(w io.Writer, err error) int {
	if err == nil {
		return control.ExitOK
	}
	var f *fault
	if !errors.As(err, &f) { // cobra's own, such as an unknown command
		f = &fault{exit: control.ExitUsage, text: mistake(err) + "see: fugue --help"}
	}
	if f.text == "" {
		return f.exit
	}
	prefix := "fugue: "
	if f.plain {
		prefix = ""
	}
	for line := range strings.Lines(f.text) {
		fmt.Fprintf(w, "%s%s\n", prefix, printable(strings.TrimRight(line, "\n")))
		prefix = ""
	}
	return f.exit
}
