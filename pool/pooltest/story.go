package pooltest

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fugue/pool"
)

// Record again with `go test ./pool ./reload -update`, when a story is new or
// a change of behaviour is meant; then read the difference, line by line: it
// is what users will see. Never to make a test pass that was not expected to
// fail.
var update = flag.Bool("update", false, "record the stories in testdata again")

// Command is one word of the language. The error names what was wrong.
type Command func(args []string) error

// Stories plays every story in dir. A story is a file of lines:
//
//	# prose
//	command arguments
//	  what it caused, recorded
//
// Time is fake and passes only in the commands `after` and `at`. What the
// language knows is in commands below; more adds to it for one world.
func Stories(t *testing.T, dir string, more func(*World) map[string]Command) {
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories in %s: %v", dir, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			before, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			w := New(t)
			known := w.commands()
			if more != nil {
				for name, c := range more(w) {
					known[name] = c
				}
			}
			after := play(w, known, file, string(before))
			if *update {
				if err := os.WriteFile(file, []byte(after), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(strings.Split(string(before), "\n"), strings.Split(after, "\n")); diff != "" {
				t.Errorf("the story goes otherwise now (-recorded +now):\n%s", diff)
			}
		})
	}
}

func play(w *World, known map[string]Command, file, text string) string {
	var out strings.Builder
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		if strings.HasPrefix(line, "  ") {
			continue
		}
		out.WriteString(line + "\n")
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(line, "# ") || line == "#" {
			continue
		}
		c, ok := known[words[0]]
		if !ok {
			w.Fatalf("%s:%d: no such command: %s", file, i+1, words[0])
		}
		seen := len(w.History)
		if err := c(words[1:]); err != nil {
			w.Fatalf("%s:%d: %v", file, i+1, err)
		}
		for _, e := range w.History[seen:] {
			fmt.Fprintf(&out, "  %s\n", e)
		}
	}
	return out.String()
}

// commands is the language. G is a generation, #N a worker by its ID.
func (w *World) commands() map[string]Command {
	return map[string]Command{
		// release G [start D] [uptime D] [delay D] [stop D] [backoff D] [max D]
		// [watchdog D] [abort D] [age D] [first]
		// [ready D|never] [exits D] [ends D] [drain D|never] [refused]
		"release":  w.release,
		"target":   w.target, // target G N
		"draining": func(args []string) error { return Number(args, 0, w.SetMaxDraining) },
		"after":    func(args []string) error { return Span(args, 0, w.Run) },
		"at":       func(args []string) error { return Span(args, 0, func(d time.Duration) { w.Run(d - w.Since()) }) },
		"jump":     func(args []string) error { return Span(args, 0, w.Jump) }, // the machine slept
		"ready":    w.fact(w.SayReady),
		"stopping": w.fact(w.SayStopping),
		"crash":    w.fact(func(p *Proc) { w.Exit(p, false) }),
		"end":      w.fact(func(p *Proc) { w.Exit(p, true) }),
		"alive":    w.fact(w.SayAlive),
		"mute":     w.fact(func(p *Proc) { p.Mute, p.pingAt = true, time.Time{} }),
		"trigger":  w.fact(func(p *Proc) { w.SayHangs(p, pool.Triggered) }),
		"unread":   w.fact(func(p *Proc) { w.SayHangs(p, pool.Unread) }),
		"recycle":  w.fact(w.Recycle),
		"spare":    w.fact(func(p *Proc) { w.Spare(p) }),
		"watch": func(args []string) error { // watch #N D
			return Span(args, 1, func(d time.Duration) { _ = w.fact(func(p *Proc) { w.SayWatch(p, d) })(args) })
		},
		"extend": func(args []string) error { // extend #N D
			return Span(args, 1, func(d time.Duration) { _ = w.fact(func(p *Proc) { w.Extend(p, d) })(args) })
		},
		"abandon": func([]string) error {
			w.Abandon()
			w.Settle()
			return nil
		},
		"drop": func(args []string) error {
			return Number(args, 0, func(g int) { w.Note(fmt.Sprintf("drop generation %d: %v", g, w.Pool.Drop(pool.Generation(g)))) })
		},
		"show": func([]string) error {
			for _, x := range w.Pool.Workers() {
				w.Note(fmt.Sprintf("slot %d: #%d, generation %d, %v", x.Slot, x.ID, x.Generation, x.State))
			}
			for _, r := range w.Releases {
				f := w.Pool.Failures(r.Number)
				w.Note(fmt.Sprintf("generation %d: %d wanted, %d failed to start, %d died", r.Number, w.Pool.Target(r.Number), f.Starts, f.Deaths))
			}
			return nil
		},
	}
}

func (w *World) target(args []string) error {
	return Number(args, 0, func(g int) {
		_ = Number(args, 1, func(n int) { w.Pool.SetTarget(pool.Generation(g), n) })
		w.Settle()
	})
}

// fact is a command about one worker.
func (w *World) fact(tell func(*Proc)) Command {
	return func(args []string) error {
		if len(args) == 0 || !strings.HasPrefix(args[0], "#") {
			return fmt.Errorf("which worker? #N")
		}
		return Number([]string{args[0][1:]}, 0, func(id int) {
			p := w.Proc(pool.ID(id))
			if p == nil {
				w.Fatalf("no worker %s lives", args[0])
			}
			tell(p)
			w.Settle()
		})
	}
}

// release makes a generation known, or changes how its workers behave from
// now on: those that live keep to what they were born with, but for draining.
func (w *World) release(args []string) error {
	return Number(args, 0, func(g int) {
		r := w.Release(pool.Generation(g))
		if r == nil {
			r = w.AddRelease(pool.Generation(g), Usual, Manner{Ready: 100 * time.Millisecond, Drain: 50 * time.Millisecond})
		}
		l, m := &r.Limits, &r.Manner
		spans := map[string]*time.Duration{
			"start": &l.StartTimeout, "uptime": &l.MinUptime, "delay": &l.StopDelay, "stop": &l.StopTimeout,
			"backoff": &l.Backoff, "max": &l.MaxBackoff, "ready": &m.Ready, "exits": &m.Life, "ends": &m.Life, "drain": &m.Drain,
			"watchdog": &l.Watchdog, "abort": &l.AbortTimeout, "age": &l.MaxAge,
		}
		for i := 1; i < len(args); i++ {
			if flag, ok := map[string]*bool{"refused": &m.Refuse, "mute": &m.Mute, "first": &l.ReplaceFirst}[args[i]]; ok {
				*flag = true
				continue
			}
			d, ok := spans[args[i]]
			if !ok || i+1 == len(args) {
				w.Fatalf("release %d: what is %q?", g, args[i])
			}
			m.Clean = args[i] == "ends" || m.Clean && args[i] != "exits"
			if i++; args[i] == "never" {
				*d = -1
			} else if err := Span(args, i, func(v time.Duration) { *d = v }); err != nil {
				w.Fatalf("release %d: %v", g, err)
			}
		}
		w.Pool.SetLimits(r.Number, r.Limits)
	})
}

// Usual are limits that are easy to follow by eye.
var Usual = pool.Limits{
	StartTimeout: 10 * time.Second,
	MinUptime:    time.Second,
	StopTimeout:  5 * time.Second,
	Backoff:      100 * time.Millisecond,
	MaxBackoff:   time.Second,
}

// Number hands on argument i.
func Number(args []string, i int, to func(int)) error {
	if i >= len(args) {
		return fmt.Errorf("argument %d is missing: a number", i+1)
	}
	n, err := strconv.Atoi(args[i])
	if err != nil {
		return err
	}
	to(n)
	return nil
}

// Span hands on argument i.
func Span(args []string, i int, to func(time.Duration)) error {
	if i >= len(args) {
		return fmt.Errorf("argument %d is missing: a duration", i+1)
	}
	d, err := time.ParseDuration(args[i])
	if err != nil {
		return err
	}
	to(d)
	return nil
}
