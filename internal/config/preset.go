package config

import (
	"maps"
	"slices"
	"strings"
)

// server is what is known of one that others wrote and that many run.
type server struct {
	// drains are the signals after which it ends what it has accepted and no
	// more; by any other it cuts requests off.
	drains []string
	// bind is its way to name one socket of its own on its command line, once for
	// each of fugue's. Empty: its dialect is enough.
	bind []string
	// single: it takes one socket and no more.
	single bool
	// always stands in front of bind.
	always []string
	// said are the options by which a user does the same as bind or always, so
	// that neither is added.
	said []string
	// dialects it understands; nil: systemd.
	dialects []Dialect
	ready    When
	// stdin: it takes its socket as standard input.
	stdin bool
	// nonBlocking: it accepts from an event loop and relies on whoever made the
	// socket for O_NONBLOCK. On one that blocks, a worker that another was faster
	// than hangs in accept(2), with all that it has accepted before.
	nonBlocking bool
	// preset: it has one. Of others only the signals are known.
	preset bool
}

// servers is all that is known. Each line was tried with the real server: see
// e2e/servers, and docs/SERVERS.md for what they want of their own files.
func servers() map[string]server {
	return map[string]server{
		// gunicorn says READY=1 before it has loaded the application.
		"gunicorn": {preset: true, drains: []string{"TERM"}, ready: WhenListening},
		"uvicorn": {
			preset: true, drains: []string{"TERM", "INT"}, single: true,
			bind: []string{"--fd", "{fd}"}, said: []string{"--fd", "--uds"},
		},
		"hypercorn": {
			preset: true, drains: []string{"TERM", "INT"},
			bind: []string{"--bind", "fd://{fd}"}, said: []string{"--bind", "-b"},
		},
		"puma": {
			preset: true, drains: []string{"TERM", "INT"},
			always: []string{"--bind-to-activated-sockets", "only"},
			said:   []string{"--bind-to-activated-sockets", "--bind", "-b"},
		},
		"unicorn": {preset: true, drains: []string{"QUIT"}},
		"starman": {preset: true, drains: []string{"QUIT"}, dialects: []Dialect{DialectServerStarter}},
		"starlet": {
			preset: true, drains: []string{"TERM"}, dialects: []Dialect{DialectServerStarter},
			always: []string{"-s", "Starlet"}, said: []string{"-s", "--server"},
		},
		// With LISTEN_FDS it would speak its own protocol on the socket, so no
		// dialect. By itself no signal lets it finish; the hook does.
		"uwsgi": {
			preset: true, dialects: []Dialect{},
			always: []string{"--master", "--hook-master-start", "unix_signal:15 gracefully_kill_them_all"},
			bind:   []string{"--http-socket", "fd://{fd}"},
			said:   []string{"--http-socket", "--http11-socket", "--socket", "--uwsgi-socket", "--fastcgi-socket", "--scgi-socket", "-s"},
		},
		"node": {preset: true},
		"php-fpm": {
			preset: true, drains: []string{"QUIT"}, dialects: []Dialect{DialectPHPFPM},
			always: []string{"--nodaemonize"}, said: []string{"--nodaemonize", "-F"},
		},
		"nginx": {
			preset: true, drains: []string{"QUIT"}, dialects: []Dialect{DialectNginx}, nonBlocking: true,
			always: []string{"-g", "daemon off;"}, said: []string{"-g"},
		},
		"java":     {preset: true, stdin: true},
		"haproxy":  {drains: []string{"USR1"}},
		"lighttpd": {drains: []string{"INT"}},
	}
}

// presetNames are the values of preset, sorted.
func presetNames() (names []string) {
	all := servers()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if all[name].preset {
			names = append(names, name)
		}
	}
	return names
}

// applyPreset sets what the user has not. Its arguments come later, when the
// sockets are known: see PresetArguments.
func (d *decoder) applyPreset() {
	c := d.cfg
	if c.Preset == "" {
		return
	}
	s := servers()[c.Preset]
	said := func(key string) bool { _, ok := c.Positions[key]; return ok }
	if len(s.drains) > 0 && !said("stop.signal") {
		c.Stop.Signal, _ = readSignal(s.drains[0]) // one of the table's own
	}
	if s.dialects != nil && !said("dialect") {
		c.Dialects = slices.Clone(s.dialects)
	}
	if s.stdin && c.Stdin == StdinDefault {
		c.Stdin = StdinSocket
	}
	if s.nonBlocking {
		c.NonBlocking = &s.nonBlocking
	}
	if s.ready != "" && !said("ready.when") && !said("ready.delay") {
		c.Ready.When = s.ready
	}
}

// PresetArguments are the words that the preset puts into the command at index
// at, straight after the word that names the server. listeners are the names of
// the stream sockets that workers get. There are none where the command says the
// like itself.
func (c *Config) PresetArguments(listeners []string) (at int, words []Template) {
	s, ok := servers()[c.Preset]
	if !ok || len(c.Command) == 0 {
		return 0, nil
	}
	argv := c.texts()
	at = 1
	if name, i := findServer(argv); name == c.Preset {
		at = i + 1
	}
	for _, w := range argv[at:] {
		if sayAny(s.said, w) {
			return at, nil
		}
	}
	for _, w := range s.always {
		words = append(words, Literal(w))
	}
	if s.single && len(s.bind) > 0 {
		listeners = []string{""} // which one is for the user to say
	}
	for _, l := range listeners {
		for _, w := range s.bind {
			words = append(words, bound(w, l))
		}
	}
	return at, words
}

// bound is a word of the table whose {fd} is that of one listener. Its name may
// be systemd's, and be none that could stand in a file.
func bound(word, listener string) Template {
	before, after, found := strings.Cut(word, "{fd}")
	if !found {
		return Literal(word)
	}
	hole := Placeholder{Kind: "fd", Name: listener}
	return Template{
		text:  before + hole.String() + after,
		parts: []part{{text: before}, {hole: hole}, {text: after}},
	}
}

func (c *Config) texts() []string {
	argv := make([]string, len(c.Command))
	for i, t := range c.Command {
		argv[i] = t.String()
	}
	return argv
}

// sayAny tells whether a word of a command is one of the options: "--bind",
// "--bind=x", "-b" and "-bx".
func sayAny(options []string, word string) bool {
	return slices.ContainsFunc(options, func(option string) bool {
		long := strings.HasPrefix(option, "--")
		return word == option || long && strings.HasPrefix(word, option+"=") ||
			!long && !strings.HasPrefix(word, "--") && strings.HasPrefix(word, option)
	})
}
