package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"fugue/internal/control"
	"fugue/internal/logs"
)

// change asks a pool for a change, shows how far it is, and returns the verdict
// as output or as the error.
func (a *app) change(ctx context.Context, pool []string, kind string, out format, ask func(context.Context, *control.Client) (*control.Stream, error)) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	c, err := a.dial(pool)
	if err != nil {
		return err
	}
	if pid, err := strconv.Atoi(os.Getenv("MAINPID")); err == nil {
		c.ForMaster(pid)
	}
	s, err := ask(ctx, c)
	if ctx.Err() != nil {
		return control.Errorf(control.ExitFailed, "interrupted before pool %s answered", c.Entry().Name)
	}
	if err != nil {
		return err
	}
	defer s.Close()
	name := c.Entry().Name
	p := &progress{screen: a.out, pool: printable(name)}
	ch, err := c.Follow(ctx, s, func(e control.Event, line []byte) {
		if out.json() {
			_ = a.printRaw(line) // the verdict counts, not who reads it
		} else {
			p.show(e)
		}
	})
	p.end()
	switch {
	case errors.Is(err, context.Canceled):
		return control.Errorf(control.ExitFailed, "no longer waiting for %[1]s %[2]d of pool %[3]s, which goes on; fugue status %[3]s tells how it went", kind, s.Change, name)
	case err != nil:
		return err
	case out.json() && ch.Exit != control.ExitOK:
		return &fault{exit: ch.Exit} // the last line said it
	case out.json():
		return nil
	}
	ch.Details = lastWords(ctx, ch.Details)
	text := verdict(name, ch)
	if ch.Exit == control.ExitOK {
		_, err := fmt.Fprintln(a.out, text)
		return err
	}
	return &fault{exit: ch.Exit, text: text, plain: true}
}

// lastWordsTime bounds the look into the journal for the last words of a worker.
const lastWordsTime = 10 * time.Second

// lastWords puts the lines of the journal in the place of the command that shows
// them. A master that is not root may not read what its workers wrote last; who
// asks, root in an ExecReload=+ for one, mostly may.
func lastWords(ctx context.Context, details []string) (all []string) {
	ctx, cancel := context.WithTimeout(ctx, lastWordsTime)
	defer cancel()
	for _, d := range details {
		if q, ok := logs.Named(d); ok {
			q.N = 10
			if lines, err := logs.JournalTail(ctx, q); err == nil && len(lines) > 0 {
				for _, line := range lines {
					all = append(all, logs.OneLine(line))
				}
				continue
			}
		}
		all = append(all, d)
	}
	return all
}

// verdict words the end of a change: whose and what, and below it the last
// words of the worker that failed. Errors about a file stand first and as they
// are, for editors that jump to them.
func verdict(pool string, c control.Change) string {
	message := c.Message
	var lines []string
	if c.Exit == control.ExitBadInput {
		lines = strings.Split(strings.TrimRight(message, "\n"), "\n")
		message = c.Kind + " " + c.Outcome + ", nothing was changed"
	}
	if message == "" {
		message = strings.TrimSpace(c.Kind + " " + c.Outcome)
	}
	lines = append(lines, pool+": "+message)
	for _, d := range c.Details {
		lines = append(lines, "    "+d)
	}
	for i, l := range lines {
		lines[i] = printable(l)
	}
	return strings.Join(lines, "\n")
}

// progress shows how far a change is: on a terminal in one line that is drawn
// anew, elsewhere a line each time.
type progress struct {
	*screen
	pool  string
	last  string
	drawn bool
}

func (p *progress) show(e control.Event) {
	text := progressLine(e)
	if text == "" || text == p.last {
		return
	}
	p.last = text
	text = p.pool + ": " + text
	if !p.terminal {
		fmt.Fprintln(p, text)
		return
	}
	// One write, and clearing only what is left of the longer line before it:
	// nothing flickers. A line that fills the last column would scroll.
	fmt.Fprint(p, "\r"+truncate(text, p.width()-1)+"\x1b[K")
	p.drawn = true
}

// end leaves an empty line to write on.
func (p *progress) end() {
	if p.drawn {
		fmt.Fprint(p, "\r\x1b[K")
		p.drawn = false
	}
}

func progressLine(e control.Event) string {
	switch {
	case e.Progress != nil:
		g := e.Progress
		text := fmt.Sprintf("generation %d: %s", g.Generation, strings.ReplaceAll(g.Phase, "-", " "))
		if g.Phase != "preparing" {
			text += fmt.Sprintf(", %d of %d ready, %d available", g.Ready, g.Wanted, g.Available)
			if g.Old > 0 {
				text += fmt.Sprintf(", %d old", g.Old)
			}
		}
		return printable(text)
	case e.Change != nil: // the verdict, which is said elsewhere
		return ""
	}
	return eventLine(e)
}
