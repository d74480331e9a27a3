package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"fugue/internal/control"
)

// screen is standard output: a terminal or not.
type screen struct {
	io.Writer
	fd       int
	terminal bool // one that understands cursor movements
	colour   bool
}

func newScreen(f *os.File, getenv func(string) string) *screen {
	s := &screen{Writer: f}
	raw, err := f.SyscallConn()
	if err != nil {
		return s
	}
	_ = raw.Control(func(fd uintptr) {
		s.fd = int(fd) // stdout: open as long as we are
		_, err := unix.IoctlGetTermios(s.fd, unix.TCGETS)
		s.terminal = err == nil && getenv("TERM") != "dumb"
	})
	s.colour = s.terminal && getenv("NO_COLOR") == ""
	return s
}

// width is how many columns there are. It is asked anew each time: people
// resize.
func (s *screen) width() int {
	if s.terminal {
		if ws, err := unix.IoctlGetWinsize(s.fd, unix.TIOCGWINSZ); err == nil && ws.Col > 0 {
			return max(40, int(ws.Col))
		}
	}
	return 80
}

// Colours are those of the basic eight, which every theme keeps readable.
const (
	bold   = "1"
	red    = "31"
	green  = "32"
	yellow = "33"
)

func (s *screen) paint(colour, text string) string {
	if !s.colour || colour == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// stateColour is the colour of a pool's or worker's state.
func stateColour(state string) string {
	switch state {
	case control.StateRunning, control.WorkerAvailable, control.WorkerReady:
		return green
	case control.StateDegraded:
		return red
	}
	return yellow
}

// column is one of a table.
type column struct {
	title  string
	right  bool // numbers
	colour func(cell string) string
}

// table lays out rows below titles, two spaces apart, no line longer than
// width: the last column is cut, or with wrapped goes on in further lines.
func (s *screen) table(width int, wrapped bool, cols []column, rows [][]string) string {
	widths := make([]int, len(cols))
	for i, c := range cols {
		widths[i] = columns(c.title)
		for _, r := range rows {
			widths[i] = max(widths[i], columns(r[i]))
		}
	}
	left := 0 // where the last column begins
	for _, w := range widths[:len(cols)-1] {
		left += w + 2
	}
	room := max(width-left, 8)
	var out strings.Builder
	line := func(cells []string, title bool) {
		var b strings.Builder
		for i, c := range cols {
			text, colour := cells[i], ""
			if c.colour != nil && !title {
				colour = c.colour(text)
			}
			pad := strings.Repeat(" ", max(0, widths[i]-columns(text)))
			switch {
			case i == len(cols)-1 && wrapped:
				b.WriteString(wrap(text, room, strings.Repeat(" ", left)))
			case i == len(cols)-1:
				b.WriteString(truncate(text, room))
			case c.right:
				b.WriteString(pad + s.paint(colour, text) + "  ")
			default:
				b.WriteString(s.paint(colour, text) + pad + "  ")
			}
		}
		out.WriteString(strings.TrimRight(b.String(), " ") + "\n")
	}
	titles := make([]string, len(cols))
	for i, c := range cols {
		titles[i] = c.title
	}
	line(titles, true)
	for _, r := range rows {
		line(r, false)
	}
	return out.String()
}

// format is the value of -o.
type format string

// outputFlag adds -o to a command and returns where its value will be.
func outputFlag(cmd *cobra.Command) *format {
	f := format("table")
	cmd.Flags().VarP(&f, "output", "o", "how to say it: table or json")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp))
	return &f
}

func (f *format) String() string { return string(*f) }

// Type is what help calls the value.
func (f *format) Type() string { return "FORMAT" }

// Set is pflag's.
func (f *format) Set(s string) error {
	if s != "table" && s != "json" {
		return fmt.Errorf("it is table or json")
	}
	*f = format(s)
	return nil
}

func (f format) json() bool { return f == "json" }

// printJSON prints one value for machines.
func (a *app) printJSON(v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return a.printRaw(b)
}

// printRaw prints JSON that somebody else made.
func (a *app) printRaw(b []byte) error {
	_, err := fmt.Fprintf(a.out, "%s\n", printableJSON(b))
	return err
}
