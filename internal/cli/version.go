package cli

import (
	"context"
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

func (a *app) versionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:               "version",
		Short:             "Show the version of this program",
		Args:              arguments(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	output := outputFlag(cmd)
	cmd.RunE = action(func(context.Context, *cobra.Command, []string) error {
		if output.json() {
			return a.printJSON(map[string]string{
				"version": a.deps.Version, "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH,
			})
		}
		_, err := fmt.Fprintf(a.out, "fugue %s (%s %s/%s)\n", a.deps.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
		return err
	})
	return cmd
}
