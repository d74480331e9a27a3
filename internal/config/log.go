package config

import (
	"errors"
	"path/filepath"
	"strings"
)

// Log says where output goes, that of the workers and the master's own.
type Log struct {
	Stdout, Stderr Output
	// ReopenSignal goes to workers that hold log files when these are to be
	// opened again, where they catch it. 0: none.
	ReopenSignal int
	Master       string // MasterStderr, MasterJournal or an absolute path; empty: stderr
	Format       string // of the master's own log; empty: auto
	Level        string // what the master's own log leaves out; empty: info
}

// To is where a stream of a worker goes.
type To string

// The values of [log] stdout and stderr; a path is ToFile, and relay:PATH is
// ToRelay with a path.
const (
	ToDefault To = ""        // the journal under systemd, the relay elsewhere
	ToInherit To = "inherit" // what the master writes to
	ToJournal To = "journal" // a journal stream of its own
	ToRelay   To = "relay"   // through the master, line by line, with its name before each
	ToNull    To = "null"    // nowhere
	ToFile    To = "file"    // a file that the worker itself holds
)

// The values of [log] master that are no path.
const (
	MasterStderr  = "stderr"
	MasterJournal = "journal"
)

// Output is one stream of the workers.
type Output struct {
	To   To
	Path Template // absolute, with {worker} and {generation}; empty: not a file
}

// HasPath reports whether the stream ends in a file.
func (o Output) HasPath() bool { return o.Path.String() != "" }

// log is the schema of [log].
func (d *decoder) log() map[string]schema {
	l := &d.cfg.Log
	return map[string]schema{
		"stdout":        d.output(&l.Stdout),
		"stderr":        d.output(&l.Stderr),
		"reopen_signal": d.reopenSignal(),
		"master":        d.masterLog(),
		"format":        d.oneOf(&l.Format, "auto", "text", "json"),
		"level":         d.oneOf(&l.Level, "debug", "info", "warning", "error"),
	}
}

// output reads "journal", "/var/log/web.log", "relay:/var/log/web-{worker}.log".
func (d *decoder) output(dst *Output) schema {
	var text string
	leaf := d.leaf(Text, `"inherit", "journal", "relay", "relay:PATH", "null" or a path`, func(v any) error { return readText(&text, v) })
	return schema{kind: Text, set: func(name string, n *node) {
		text = ""
		if leaf.set(name, n); text == "" {
			return
		}
		switch to := To(text); to {
		case ToInherit, ToJournal, ToRelay, ToNull:
			*dst = Output{To: to}
			return
		}
		path, relayed := strings.CutPrefix(text, "relay:")
		t, err := d.logPath(path, n.pos)
		if err != nil {
			d.refuse(n.pos, name, `"inherit", "journal", "relay", "relay:PATH", "null" or a path`, text, err)
			return
		}
		*dst = Output{To: ToFile, Path: t}
		if relayed {
			dst.To = ToRelay
		}
	}}.as(formWordsOrPath("inherit", "journal", "relay", "null"))
}

func formWordsOrPath(words ...string) form {
	return form{"anyOf": []any{formWords(words...), form{"type": "string", "pattern": "/"}}}
}

// logPath makes a path absolute. What makes it so has no placeholders, even
// if there are braces in it.
func (d *decoder) logPath(path string, at Pos) (Template, error) {
	t, err := ParseTemplate(path)
	switch {
	case err != nil:
		return t, err
	case !strings.Contains(path, "/"):
		return t, errKind // a word that is none of those; ./x is a file
	case strings.HasSuffix(path, "/"):
		return t, errors.New("it names a directory")
	}
	for _, p := range t.Placeholders() {
		if p.OfListener() {
			return t, errors.New("placeholder " + p.String() + ": a log file's name can have {worker} and {generation}")
		}
	}
	if filepath.IsAbs(path) {
		return ParseTemplate(filepath.Clean(path))
	}
	dir := strings.NewReplacer("{", "{{", "}", "}}").Replace(filepath.Dir(d.absolute("x", at)))
	return ParseTemplate(filepath.Join(dir, path))
}

func (d *decoder) masterLog() schema {
	var text string
	leaf := d.leaf(Text, `"stderr", "journal" or a path`, func(v any) error {
		err := readText(&text, v)
		if err == nil && text != MasterStderr && text != MasterJournal && !strings.Contains(text, "/") {
			return errKind
		}
		if err == nil && strings.HasSuffix(text, "/") {
			return errors.New("it names a directory")
		}
		return err
	})
	return schema{kind: Text, set: func(name string, n *node) {
		text = ""
		leaf.set(name, n)
		switch text {
		case "":
		case MasterStderr, MasterJournal:
			d.cfg.Log.Master = text
		default:
			d.cfg.Log.Master = filepath.Clean(d.absolute(text, n.pos))
		}
	}}.as(formWordsOrPath(MasterStderr, MasterJournal))
}

// reopenSignal is a signal or "none".
func (d *decoder) reopenSignal() schema {
	return d.leaf(Text, `a signal such as "USR1", or "none"`, func(v any) error {
		if v == "none" {
			d.cfg.Log.ReopenSignal = 0
			return nil
		}
		n, err := readSignal(v)
		if err == nil && (n == 9 || n == 19) {
			err = errors.New("no program can catch it")
		}
		if err == nil {
			d.cfg.Log.ReopenSignal = n
		}
		return err
	}).as(form{"type": []any{"string", "integer"}, "minLength": 1})
}
