package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"fugue/internal/control"
)

// dial finds the pool that is meant: the one named, else the only running one.
func (a *app) dial(args []string) (*control.Client, error) {
	if len(args) > 0 {
		return a.finder.Dial(args[0])
	}
	var running, known []string
	for _, e := range a.finder.Pools() {
		known = append(known, e.Name)
		if e.Running {
			running = append(running, e.Name)
		}
	}
	switch {
	case len(running) == 1:
		return a.finder.Dial(running[0])
	case len(running) > 1:
		return nil, control.Errorf(control.ExitUsage, "several pools are running, name one: %s", strings.Join(running, ", "))
	case len(known) > 0:
		return nil, control.Errorf(control.ExitNotRunning, "no pool is running (known: %s)", strings.Join(known, ", "))
	}
	return nil, control.Errorf(control.ExitNoPool, "no pool is running")
}

// completePools offers the names of running pools to the shell.
func (a *app) completePools(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.complete(args, true)
}

// completeDeadPools offers the names of pools that have no master.
func (a *app) completeDeadPools(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.complete(args, false)
}

func (a *app) complete(args []string, running bool) ([]string, cobra.ShellCompDirective) {
	var names []string
	for _, e := range a.finder.Pools() {
		if e.Running == running && len(args) == 0 {
			names = append(names, e.Name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
