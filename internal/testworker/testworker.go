// Package testworker is a worker that behaves as it is told, for tests: it
// starts slowly or not at all, dies early, ignores its stop signal, leaves
// children behind, says odd things, or does everything right. Main is the whole
// program, so that a test binary can run it re-executed; cmd/testworker is the
// same as a command. Everything it is told is a flag, and a flag can come from a
// file too (-config), so that one unchanged command behaves differently after a
// deploy.
package testworker

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// Behaviour is what the flags say.
type Behaviour struct {
	Version string

	// Starting.
	StartDelay time.Duration // before anything else
	Stderr     []string      // lines written to stderr at start
	Stdout     []string
	LogEvery   time.Duration // numbered lines on stdout, from the start on; zero: none
	Exit       int           // exit at start with this code, if not negative
	Hang       bool          // never listen, never say READY=1
	Addr       string

	// Ready.
	Ready       bool          // say READY=1
	Notify      []string      // datagrams sent before READY=1
	NotifyAfter []string      // and after
	DieAfter    time.Duration // after ready; zero: never
	DieCode     int
	DieSignal   int // instead of DieCode, if not zero

	// Serving.
	Delay    time.Duration // in every answer
	Children int           // processes left behind, holding the sockets
	Setsid   bool          // those in a session of their own

	// Stopping.
	Drain      string        // right, stock, none
	IgnoreTerm bool          // and INT, QUIT, HUP
	StopDelay  time.Duration // after the last answer
	StopCode   int
	IdleGrace  time.Duration
}

// Parse reads flags, then the -config file, one NAME=VALUE a line, which wins.
func Parse(args []string, stderr io.Writer) (Behaviour, error) {
	var b Behaviour
	fs := flag.NewFlagSet("testworker", flag.ContinueOnError)
	fs.SetOutput(stderr)
	config := fs.String("config", "", "`file` with NAME=VALUE lines, each a flag; it wins over the command line")
	fs.StringVar(&b.Version, "version", "v1", "text of the answer")
	fs.DurationVar(&b.StartDelay, "start-delay", 0, "wait before anything else")
	fs.Func("stderr", "write a `line` to stderr at start (repeatable)", appendTo(&b.Stderr))
	fs.Func("stdout", "write a `line` to stdout at start (repeatable)", appendTo(&b.Stdout))
	fs.DurationVar(&b.LogEvery, "log-every", 0, `write "tick PID N" to stdout this often`)
	fs.IntVar(&b.Exit, "exit", -1, "exit at start with this `code`")
	fs.BoolVar(&b.Hang, "hang", false, "never listen and never be ready")
	fs.StringVar(&b.Addr, "addr", "", "listen here if no socket is handed over")
	fs.BoolVar(&b.Ready, "ready", true, "say READY=1")
	fs.Func("notify", `send a `+"`datagram`"+` before READY=1, \n is a newline (repeatable)`, appendTo(&b.Notify))
	fs.Func("notify-after", "send a `datagram` after READY=1 (repeatable)", appendTo(&b.NotifyAfter))
	fs.DurationVar(&b.DieAfter, "die-after", 0, "die this long after being ready")
	fs.IntVar(&b.DieCode, "die-code", 1, "exit code of -die-after")
	fs.IntVar(&b.DieSignal, "die-signal", 0, "die of this signal instead")
	fs.DurationVar(&b.Delay, "delay", 0, "wait before every answer")
	fs.IntVar(&b.Children, "children", 0, "leave this many processes behind that hold the sockets")
	fs.BoolVar(&b.Setsid, "setsid", false, "children get a session of their own")
	fs.StringVar(&b.Drain, "drain", "right", "right (package worker), stock (http.Server.Shutdown), none (exit at once)")
	fs.BoolVar(&b.IgnoreTerm, "ignore-term", false, "ignore TERM, INT, QUIT and HUP")
	fs.DurationVar(&b.StopDelay, "stop-delay", 0, "wait after the last answer, before the exit")
	fs.IntVar(&b.StopCode, "stop-code", 0, "exit code after a stop")
	fs.DurationVar(&b.IdleGrace, "idle-grace", 0, "how long idle connections may stay in a right drain")
	if err := fs.Parse(args); err != nil {
		return b, err
	}
	if *config != "" {
		if err := setFromFile(fs, *config); err != nil {
			return b, err
		}
	}
	switch b.Drain {
	case "right", "stock", "none":
	default:
		return b, fmt.Errorf("-drain %q: want right, stock or none", b.Drain)
	}
	return b, nil
}

func appendTo(list *[]string) func(string) error {
	return func(s string) error {
		*list = append(*list, strings.ReplaceAll(s, `\n`, "\n"))
		return nil
	}
}

func setFromFile(fs *flag.FlagSet, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, value, found := strings.Cut(line, "=")
		if !found {
			value = "true"
		}
		if err := fs.Set(name, value); err != nil {
			return fmt.Errorf("%s:%d: %w", path, n, err)
		}
	}
	return lines.Err()
}

// Main runs the worker with args (without the program's name) and returns its
// exit code.
func Main(args []string) int {
	b, err := Parse(args, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "testworker:", err)
		return 2
	}
	if err := b.run(); err != nil {
		fmt.Fprintln(os.Stderr, "testworker:", err)
		return 1
	}
	return b.StopCode
}
