package config

import (
	"bytes"
	"path/filepath"
)

// salvageTries bounds how often a text is taken apart again with one line less.
const salvageTries = 16

// Salvage is Load for the unit generator. What it says is wrong is what Load
// says; but the Config is there all the same, of what could be understood, with
// the defaults for the rest. Nothing may be started with it: it is for keeping
// the sockets of a pool that runs, or is waited for, as they are while its file
// is broken.
func Salvage(path string, o Options) (*Config, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nothing(path, o), Errors{fileError(path, err)}
	}
	files, err := Read(abs)
	if err != nil {
		return nothing(abs, o), err
	}
	var broken Errors
	cfg, err := interpret(files, o, func(f File) (*node, *Error) {
		n, err := salvage(f)
		if err != nil {
			broken = append(broken, err)
		}
		return n, nil
	})
	if len(broken) > 0 {
		err = broken // the rest may be wrong only because of it
	}
	if cfg == nil {
		cfg = nothing(abs, o)
	}
	return cfg, err
}

// nothing is the Config of a file that cannot be read.
func nothing(path string, o Options) *Config {
	c := defaults()
	c.Path, c.Directory = path, o.WorkDir
	c.Name, _ = Name(path, o)
	return c
}

// salvage is parse, without the tables that make the text no TOML. The error is
// that of the text as it is.
func salvage(f File) (*node, *Error) {
	n, first := parse(f)
	if first == nil {
		return n, nil
	}
	var text []byte
	for _, table := range tables(f.Text) {
		if _, err := parse(File{Path: f.Path, Text: table}); err != nil {
			// So that the others keep their lines.
			table = bytes.Repeat([]byte("\n"), bytes.Count(table, []byte("\n")))
		}
		text = append(text, table...)
	}
	// Each is right, and together they say something twice.
	for range salvageTries {
		n, err := parse(File{Path: f.Path, Text: text})
		if err == nil {
			return n, first
		}
		lines := bytes.SplitAfter(text, []byte("\n"))
		lines[min(max(err.Line, 1), len(lines))-1] = []byte("\n")
		text = bytes.Join(lines, nil)
	}
	return newTable(Pos{Path: f.Path, Line: 1, Col: 1}), first
}

// tables cuts a text before each line that looks like the head of a table.
func tables(text []byte) [][]byte {
	var all [][]byte
	begin, at := 0, 0
	for line := range bytes.Lines(text) {
		if at > begin && bytes.HasPrefix(bytes.TrimLeft(line, " \t"), []byte("[")) {
			all = append(all, text[begin:at])
			begin = at
		}
		at += len(line)
	}
	return append(all, text[begin:])
}
