package cli

import (
	"context"
	"fmt"
	"sync"

	"github.com/spf13/cobra"

	"fugue/internal/control"
)

// listed is a pool in the answer of list.
type listed struct {
	Name       string `json:"name"`
	Dir        string `json:"dir"`
	State      string `json:"state"` // the pool's, or "stopped", or "unknown" with Error
	Generation int    `json:"generation"`
	Ready      int    `json:"ready"`
	Wanted     int    `json:"wanted"`
	PID        int    `json:"pid"`
	Unit       string `json:"unit"`
	Error      string `json:"error,omitempty"`
}

func (a *app) listCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:               "list",
		Short:             "Show all pools",
		Args:              arguments(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	output := outputFlag(cmd)
	cmd.RunE = action(func(ctx context.Context, _ *cobra.Command, _ []string) error {
		entries := a.finder.Pools()
		// All at once: one that hangs must not hold up the others.
		rows := make([]listed, len(entries))
		var wg sync.WaitGroup
		for i, e := range entries {
			wg.Go(func() { rows[i] = a.listed(ctx, e) })
		}
		wg.Wait()
		if output.json() {
			return a.printJSON(rows)
		}
		_, err := fmt.Fprint(a.out, a.out.pools(rows, a.out.width()))
		return err
	})
	return cmd
}

func (a *app) listed(ctx context.Context, e control.Entry) listed {
	l := listed{Name: e.Name, Dir: e.Dir, PID: e.PID, State: "stopped"}
	if !e.Running && e.Err == nil {
		return l
	}
	var c *control.Client
	var s control.Status
	err := e.Err
	if err == nil {
		c, err = a.finder.Dial(e.Name)
	}
	if err == nil {
		s, err = c.Status(ctx)
	}
	if err != nil {
		l.State, l.Error = "unknown", err.Error()
		return l
	}
	l.State, l.Generation, l.Ready, l.Wanted, l.PID, l.Unit = s.State, s.Generation, s.Ready, s.Wanted, s.PID, s.Unit
	return l
}

func (s *screen) pools(rows []listed, width int) string {
	cols := []column{{title: "NAME"}, {title: "STATE", colour: stateColour}, {title: "GEN", right: true},
		{title: "READY", right: true}, {title: "PID", right: true}, {title: "UNIT"}}
	var cells [][]string
	for _, l := range rows {
		gen, ready, pid, unit := "-", "-", "-", l.Unit
		if l.State != "stopped" && l.State != "unknown" {
			gen, ready = fmt.Sprint(l.Generation), fmt.Sprintf("%d/%d", l.Ready, l.Wanted)
		}
		if l.PID > 0 {
			pid = fmt.Sprint(l.PID)
		}
		if l.Error != "" {
			unit = l.Error
		}
		cells = append(cells, []string{printable(l.Name), printable(l.State), gen, ready, pid, printable(unit)})
	}
	return s.table(width, true, cols, cells)
}
