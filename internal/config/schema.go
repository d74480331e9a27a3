package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Kind is what a flag's text is turned into before its key reads it.
type Kind int

// The kinds of keys.
const (
	Text    Kind = iota // a string
	Number              // a whole number, or a word such as "auto" or "25%"
	Boolean             // true or false
	List                // one element a flag; the flags replace the file's list
	Pairs               // NAME=VALUE a flag; each replaces that entry of the file's table
)

// schema is a key with what reads its value, or a table of such keys.
type schema struct {
	kind Kind
	form form                       // in the JSON Schema; nil: what its kind has
	set  func(name string, n *node) // a value; nil in a table
	keys map[string]schema          // a table with known keys
	file bool                       // a table for the file alone: `fugue run` could do nothing with a flag
	each func(name string) (schema, error)
}

var errUnknown = errors.New("unknown key")

func (s schema) key(name string) (schema, error) {
	if s.each != nil {
		return s.each(name)
	}
	if sub, ok := s.keys[name]; ok {
		return sub, nil
	}
	return schema{}, errUnknown
}

func (s schema) names() []string { return slices.Sorted(maps.Keys(s.keys)) }

// Key is one key of the file, which is a flag of the same name too.
type Key struct {
	Name string // "workers", "reload.max_surge"
	Kind Kind
}

// Keys lists every key except those of listeners and those that say how the
// pool's units are written, sorted by name.
func Keys() []Key {
	var all []Key
	var walk func(table string, s schema)
	walk = func(table string, s schema) {
		for _, name := range s.names() {
			switch sub := s.keys[name]; {
			case sub.file:
			case sub.set != nil:
				all = append(all, Key{dotted(table, name), sub.kind})
			default:
				walk(dotted(table, name), sub)
			}
		}
	}
	walk("", scratch())
	slices.SortFunc(all, func(a, b Key) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// scratch is a schema to look things up in; what it reads is thrown away.
func scratch() schema { return (&decoder{cfg: defaults()}).schema() }

// schema is the whole file. Each key stands here once: with its name, what it
// may be, and where it goes.
func (d *decoder) schema() schema {
	c := d.cfg
	table := func(keys map[string]schema) schema { return schema{keys: keys} }
	return table(map[string]schema{
		"command":              d.command(&c.Command),
		"preset":               d.oneOf(&c.Preset, presetNames()...),
		"dialect":              d.dialect(&c.Dialects),
		"directory":            d.path(&c.Directory),
		"workers":              d.workers(),
		"user":                 d.text(&c.User),
		"group":                d.text(&c.Group),
		"supplementary_groups": d.list(&c.SupplementaryGroups),
		"environment":          d.environment(),
		"environment_files":    d.environmentFiles(),
		"pid_file":             d.path(&c.PIDFile),
		"watch":                d.paths(&c.Watch),
		"orphans":              d.oneOf((*string)(&c.Orphans), string(OrphansKeep), string(OrphansStop)),
		"when_empty":           d.oneOf((*string)(&c.WhenEmpty), string(EmptyHold), string(EmptyRefuse), string(EmptyExit)),
		"stdin":                d.oneOf((*string)(&c.Stdin), string(StdinSocket), string(StdinNull)),
		"tmp_directory":        d.tmpDirectory(),
		"listen":               {each: d.listener},
		"reload": table(map[string]schema{
			"max_surge":       d.amount(&c.Reload.MaxSurge),
			"max_unavailable": d.amount(&c.Reload.MaxUnavailable),
			"canary":          d.integer(&c.Reload.Canary, 0, maxWorkers),
			"bake":            d.duration(&c.Reload.Bake, finite),
			"tolerate":        d.integer(&c.Reload.Tolerate, 0, maxCount),
			"check":           d.command(&c.Reload.Check),
			"timeout":         d.duration(&c.Reload.Timeout, positive),
		}),
		"ready": table(map[string]schema{
			"when": d.oneOf((*string)(&c.Ready.When), string(WhenAuto), string(WhenNotify),
				string(WhenListening), string(WhenStarted)),
			"delay":   d.duration(&c.Ready.Delay, finite),
			"timeout": d.duration(&c.Ready.Timeout, positive),
		}),
		"stop": table(map[string]schema{
			"delay":        d.duration(&c.Stop.Delay, finite),
			"signal":       d.signal(&c.Stop.Signal),
			"timeout":      d.duration(&c.Stop.Timeout, positive),
			"max_draining": d.integer(&c.Stop.MaxDraining, 0, maxCount),
		}),
		"restart": table(map[string]schema{
			"min_uptime":  d.duration(&c.Restart.MinUptime, finite),
			"backoff":     d.duration(&c.Restart.Backoff, finite|positive),
			"max_backoff": d.duration(&c.Restart.MaxBackoff, finite|positive),
		}),
		"watchdog": table(map[string]schema{
			"timeout":       d.duration(&c.Watchdog.Timeout, finite),
			"signal":        d.signal(&c.Watchdog.Signal),
			"kill_after":    d.duration(&c.Watchdog.KillAfter, positive),
			"stuck":         d.duration(&c.Watchdog.Stuck, finite),
			"replace_first": d.boolean(&c.Watchdog.ReplaceFirst),
		}),
		"recycle": table(map[string]schema{
			"max_age":    d.duration(&c.Recycle.MaxAge, positive),
			"max_memory": d.size(&c.Recycle.MaxMemory),
		}),
		"limits": table(d.limits()),
		"log":    table(d.log()),
		"control": table(map[string]schema{
			"group":   d.text(&c.Control.Group),
			"readers": d.text(&c.Control.Readers),
		}),
		"install": d.install(),
		"systemd": d.systemd(),
	})
}

// listener is the schema of one [listen.NAME] table.
func (d *decoder) listener(name string) (schema, error) {
	if err := listenerName(name); err != nil {
		return schema{}, err
	}
	l := &Listener{Name: name}
	d.listen = append(d.listen, l)
	return schema{keys: map[string]schema{
		"stream":         d.text(&l.Stream),
		"datagram":       d.text(&l.Datagram),
		"backlog":        d.integer(&l.Backlog, 1, maxCount),
		"reuse_port":     d.optional(&l.ReusePort),
		"keep_alive":     d.optional(&l.KeepAlive),
		"no_delay":       d.optional(&l.NoDelay),
		"defer_accept":   d.duration(&l.DeferAccept, finite),
		"free_bind":      d.optional(&l.FreeBind),
		"bind_ipv6_only": d.oneOf(&l.BindIPv6Only, "default", "both", "ipv6-only"),
		"receive_buffer": d.size(&l.ReceiveBuffer),
		"send_buffer":    d.size(&l.SendBuffer),
		"mode":           d.mode(&l.Mode, 1),
		"user":           d.text(&l.User),
		"group":          d.text(&l.Group),
		"remove_on_stop": d.boolean(&l.RemoveOnStop),
		"nonblocking":    d.optional(&l.NonBlocking),
	}}, nil
}

func listenerName(name string) error {
	switch {
	case !validName(name):
		return fmt.Errorf("%q cannot name a listener: %s", name, nameRule)
	case strings.HasPrefix(name, "fugue."):
		return fmt.Errorf("%q cannot name a listener: names that begin with fugue. are those of the fd store", name)
	}
	return nil
}
