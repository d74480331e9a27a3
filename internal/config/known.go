package config

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// findServer finds the word of a command that names a server fugue knows, behind
// the programs that only start others: env, bundle exec, python -m. A script of
// the user's that starts one is not seen through.
func findServer(argv []string) (name string, at int) {
	for i := 0; i < len(argv); i++ {
		base := filepath.Base(argv[i])
		switch next := ""; {
		case base == "env":
			for i+1 < len(argv) && (strings.HasPrefix(argv[i+1], "-") || strings.Contains(argv[i+1], "=")) {
				i++
				if argv[i] == "-u" || argv[i] == "-C" {
					i++ // its value
				}
			}
		case base == "bundle" && i+1 < len(argv) && argv[i+1] == "exec":
			i++
		case base == "plackup":
			return plackServer(argv[i+1:]), i
		case isInterpreter(base):
			if i, next = interpreted(argv, i); next == "" {
				return "", 0
			}
			if n := serverName(next); n != "" {
				return n, i
			}
			return "", 0
		default:
			return serverName(base), i
		}
	}
	return "", 0
}

func isInterpreter(base string) bool {
	base = strings.TrimRight(base, "0123456789.")
	return base == "python" || base == "pypy" || base == "ruby" || base == "perl"
}

// interpreted is what the interpreter at i runs: a module, or a script.
func interpreted(argv []string, i int) (at int, name string) {
	for i++; i < len(argv); i++ {
		switch w := argv[i]; {
		case w == "-m" && i+1 < len(argv):
			module, _, _ := strings.Cut(argv[i+1], ".")
			return i + 1, module
		case w == "-c" || w == "-e":
			return i, ""
		case w == "-W" || w == "-X" || w == "-I" || w == "-r":
			i++
		case !strings.HasPrefix(w, "-"):
			return i, filepath.Base(w)
		}
	}
	return i, ""
}

// plackServer is what plackup's -s says.
func plackServer(args []string) string {
	for i, w := range args {
		value, found := strings.CutPrefix(w, "--server=")
		if (w == "-s" || w == "--server") && i+1 < len(args) {
			value, found = args[i+1], true
		}
		if found {
			return serverName(strings.ToLower(value))
		}
	}
	return "starlet" // the only one of the table that is started so without saying
}

// serverName is the server that a program is, by its name: php-fpm8.2, uwsgi-core.
func serverName(base string) string {
	all := servers()
	for _, name := range []string{base, strings.TrimRight(base, "0123456789."), strings.TrimSuffix(base, "-core")} {
		if _, known := all[name]; known {
			return name
		}
	}
	if base == "nodejs" {
		return "node"
	}
	return ""
}

// Warning is what is allowed and most likely not meant.
type Warning struct {
	Pos Pos
	Msg string
}

// String is one line, as that of an Error.
func (w Warning) String() string { return w.Pos.String() + ": warning: " + w.Msg }

// Warnings tells of a stop signal by which a known server loses requests, of a
// socket on which it hangs, and of listeners that cannot do what when_empty wants.
func (c *Config) Warnings() []Warning { return slices.Concat(c.losing(), c.hanging(), c.holding()) }

// hanging tells of sockets that block under a server whose event loop accepts
// from them: see server.nonBlocking.
func (c *Config) hanging() []Warning {
	name := c.server()
	if !servers()[name].nonBlocking {
		return nil
	}
	blocks := c.NonBlocking == nil && len(c.Listeners) == 0 // then all are systemd's
	key := "command"
	for _, l := range c.Listeners {
		if flag := cmp.Or(l.NonBlocking, c.NonBlocking); flag == nil || !*flag {
			blocks, key = true, "listen."+l.Name
			break
		}
	}
	if !blocks {
		return nil
	}
	return []Warning{{c.Pos(key), fmt.Sprintf("a worker of %s hangs in accept on a socket that blocks whenever another one was faster: say nonblocking = true in each [listen.NAME], or preset = %q", name, name)}}
}

// server is the known one that the command runs; empty: it is none.
func (c *Config) server() string {
	if name, _ := findServer(c.texts()); name != "" {
		return name
	}
	return c.Preset
}

// holding are the listeners that hold connections where they are to be refused.
// What a person's own .socket unit passes, which is held as well, shows only at a
// start.
func (c *Config) holding() (list []Warning) {
	if c.WhenEmpty != EmptyRefuse {
		return nil
	}
	for _, l := range c.Listeners {
		why := ""
		switch {
		case strings.HasPrefix(l.Stream, "/") || strings.HasPrefix(l.Stream, "@"):
			why = "a unix socket that was shut down never listens again"
		case l.Stream != "" && c.Install.Sockets:
			why = "install.sockets gives it a .socket unit, and such a unit fails if its socket is shut down when the master dies"
		default:
			continue
		}
		list = append(list, Warning{c.Pos("listen." + l.Name + ".stream"), fmt.Sprintf("with no worker left connections to %s wait, whatever when_empty says: %s", l.Name, why)})
	}
	return list
}

// losing tells of a stop signal by which a known server loses requests.
func (c *Config) losing() []Warning {
	name := c.server()
	s := servers()[name]
	if name == "uwsgi" && c.Preset != name {
		return []Warning{{c.Pos("command"), `uwsgi cuts requests off at every stop signal that it knows by itself; preset = "uwsgi" gives it one that does not`}}
	}
	if len(s.drains) == 0 || slices.ContainsFunc(s.drains, func(signal string) bool {
		n, _ := readSignal(signal)
		return n == c.Stop.Signal
	}) {
		return nil
	}
	key := "stop.signal"
	if _, said := c.Positions[key]; !said {
		key = "command"
	}
	advice := fmt.Sprintf("say [stop] signal = %q", s.drains[0])
	if s.preset && c.Preset == "" {
		advice += fmt.Sprintf(" or preset = %q", name)
	}
	return []Warning{{c.Pos(key), fmt.Sprintf("%s loses requests when it is stopped by %s: %s", name, stopName(c.Stop.Signal), advice)}}
}

// stopName is how a person calls a signal.
func stopName(n int) string {
	if name := unix.SignalName(unix.Signal(n)); name != "" {
		return name
	}
	return "signal " + strconv.Itoa(n)
}

// SocketAdvice is what to say in the file for a worker that binds an address
// itself where it should take a socket of fugue's.
func (c *Config) SocketAdvice() string {
	name, _ := findServer(c.texts())
	if s := servers()[name]; s.preset && c.Preset != name && (len(s.bind) > 0 || len(s.always) > 0 || s.dialects != nil) {
		return "say preset = \"" + name + "\""
	}
	return `it has to be told which socket is its own: {fd} or {addr} in command or environment, another dialect, or a preset`
}
