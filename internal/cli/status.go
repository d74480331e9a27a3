package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"fugue/internal/control"
)

func (a *app) statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status [NAME]",
		Short: "Show a pool: its workers, its sockets, its last change",
		Long: `Show a pool: its workers, its sockets, its last change.

Exits 0 when all is well, 6 when the pool is degraded, 3 when it is known but
not running, 4 when there is no such pool.`,
		Args:              arguments(cobra.MaximumNArgs(1)),
		ValidArgsFunction: a.completePools,
	}
	output := outputFlag(cmd)
	cmd.RunE = action(func(ctx context.Context, _ *cobra.Command, args []string) error {
		c, err := a.dial(args)
		if err != nil {
			return err
		}
		raw, err := c.StatusJSON(ctx)
		if err != nil {
			return err
		}
		var s control.Status
		if err := json.Unmarshal(raw, &s); err != nil {
			return fmt.Errorf("read the status of pool %s: %w", c.Entry().Name, err)
		}
		if output.json() {
			err = a.printRaw(raw[:len(strings.TrimRight(string(raw), "\n"))])
		} else {
			_, err = fmt.Fprint(a.out, a.out.status(s, time.Now(), a.out.width()))
		}
		if err == nil && s.State == control.StateDegraded {
			return &fault{exit: control.ExitDegraded}
		}
		return err
	})
	return cmd
}

// status is the page that people read.
func (s *screen) status(st control.Status, now time.Time, width int) string {
	var out strings.Builder
	para := func(indent, text string) {
		out.WriteString(indent + wrap(printable(text), width-len(indent), indent+"  ") + "\n")
	}
	state := printable(st.State)
	since := ""
	if !st.Since.IsZero() {
		since = " for " + age(now.Sub(st.Since))
	}
	fmt.Fprintf(&out, "%s: %s%s, generation %d, %d of %s ready\n", printable(st.Pool),
		s.paint(stateColour(st.State), state), since, st.Generation, st.Ready, count(st.Wanted, "worker"))
	if st.Reason != "" {
		para("  ", "because "+st.Reason)
	}
	para("  ", masterLine(st))
	if len(st.Workers) > 0 {
		out.WriteString("\n" + s.workers(st.Workers, now, width))
	}
	if len(st.Listeners) > 0 {
		out.WriteString("\n" + s.listeners(st.Listeners, width))
	}
	if st.Change != nil || st.Waiting != nil {
		out.WriteString("\n")
	}
	if c := st.Change; c != nil {
		para("", changeLine(*c, now))
		for _, d := range c.Details {
			for _, line := range chop(printable(d), width-4) {
				out.WriteString("    " + line + "\n")
			}
		}
	}
	if w := st.Waiting; w != nil {
		para("", fmt.Sprintf("next: %s %d, which waits", w.Kind, w.Number))
	}
	if notes := notes(st); len(notes) > 0 {
		out.WriteString("\n")
		for _, n := range notes {
			para("", "note: "+n)
		}
	}
	return out.String()
}

// masterLine tells of the process behind the pool.
func masterLine(st control.Status) string {
	parts := []string{fmt.Sprintf("fugue %s, pid %d", st.Version, st.PID)}
	if st.Unit != "" {
		parts = append(parts, "unit "+st.Unit)
	}
	if st.Config != "" {
		parts = append(parts, "config "+st.Config)
	}
	return strings.Join(parts, ", ")
}

func (s *screen) workers(list []control.Worker, now time.Time, width int) string {
	cols := []column{
		{title: "SLOT", right: true}, {title: "PID", right: true}, {title: "GEN", right: true},
		{title: "STATE", colour: stateColour}, {title: "AGE", right: true}, {title: "RESTARTS", right: true},
		{title: "RSS", right: true}, {title: "CPU", right: true}, {title: "STATUS"},
	}
	var rows [][]string
	for _, w := range list {
		pid, since, cpu := "-", "-", "-"
		if w.PID > 0 {
			pid, cpu = fmt.Sprint(w.PID), cpuTime(time.Duration(w.CPU))
		}
		if !w.Since.IsZero() {
			since = age(now.Sub(w.Since))
		}
		rows = append(rows, []string{
			fmt.Sprint(w.Slot), pid, fmt.Sprint(w.Generation), printable(w.State), since,
			fmt.Sprint(w.Restarts), size(w.RSS), cpu, printable(w.Status),
		})
	}
	return s.table(width, false, cols, rows)
}

func (s *screen) listeners(list []control.Listener, width int) string {
	cols := []column{{title: "LISTENER"}, {title: "FD", right: true}, {title: "FROM"}, {title: "QUEUE", right: true}, {title: "ADDRESS"}}
	var rows [][]string
	for _, l := range list {
		queue := fmt.Sprint(l.Queue)
		if l.Limit > 0 {
			queue = fmt.Sprintf("%d/%d", l.Queue, l.Limit)
		}
		rows = append(rows, []string{
			printable(l.Name), fmt.Sprint(l.FD), printable(l.Origin), queue, printable(l.Network + " " + l.Address),
		})
	}
	return s.table(width, true, cols, rows)
}

func changeLine(c control.Change, now time.Time) string {
	if c.State != control.ChangeDone {
		return fmt.Sprintf("under way: %s %d, since %s", c.Kind, c.Number, age(now.Sub(c.Started)))
	}
	ended := c.Ended
	if ended.IsZero() {
		ended = c.Started
	}
	return fmt.Sprintf("last change: %s %d, %s ago: %s", c.Kind, c.Number, age(now.Sub(ended)), c.Message)
}

// notes are the pool's, and those of its workers and listeners, each said once.
func notes(st control.Status) []string {
	all := st.Notes
	grouped := map[string][]int{}
	var order []string
	add := func(slot int, text string) {
		if text == "" {
			return
		}
		if grouped[text] == nil {
			order = append(order, text)
		}
		grouped[text] = append(grouped[text], slot)
	}
	for _, w := range st.Workers {
		if w.LastExit != "" {
			add(w.Slot, "the last one there: "+w.LastExit)
		}
		add(w.Slot, w.Note)
	}
	for _, text := range order {
		word := "slot "
		if len(grouped[text]) > 1 {
			word = "slots "
		}
		all = append(all, word+slots(grouped[text])+": "+text)
	}
	for _, l := range st.Listeners {
		if l.Note != "" {
			all = append(all, fmt.Sprintf("listener %s: %s", l.Name, l.Note))
		}
	}
	if st.Strangers > 0 {
		all = append(all, fmt.Sprintf("%d datagrams and requests were dropped for who sent them", st.Strangers))
	}
	return all
}
