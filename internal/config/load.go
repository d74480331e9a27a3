package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Options is what the command line says.
type Options struct {
	Name      string     // --name; empty: from the file or the command
	Overrides []Override // win over the files
	Listen    []string   // [NAME=]ADDR of -l; after the listeners of the files

	// WorkDir is the default of directory, and what relative paths in flags
	// start from; empty: the current directory. The master remembers the path it
	// was started in, with its symlinks, because its current directory stays in
	// the old release when a deploy flips the link.
	WorkDir string
}

// Load reads the files at path (none where it is empty) and lays the flags over
// them. The error is an Errors.
func Load(path string, o Options) (*Config, error) {
	if path == "" {
		return Parse(nil, o)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, Errors{fileError(path, err)}
	}
	files, err := Read(abs)
	if err != nil {
		return nil, err
	}
	return Parse(files, o)
}

// Parse is Load for texts that were read before: the main file first, then the
// drop-ins. Their paths are absolute.
func Parse(files []File, o Options) (*Config, error) {
	cfg, err := interpret(files, o, parse)
	if err != nil {
		return nil, err
	}
	return cfg, nil
}

// interpret makes a Config of texts that parse has taken apart, with all that
// could be understood even where the rest is an error.
func interpret(files []File, o Options, parse func(File) (*node, *Error)) (*Config, error) {
	d := &decoder{cfg: defaults()}
	if o.WorkDir == "" {
		wd, err := os.Getwd()
		if err != nil {
			return nil, Errors{errorAt(Pos{Path: commandLine}, "find the current directory: %w", err)}
		}
		o.WorkDir = wd
	}
	d.workDir = o.WorkDir
	tree := newTable(Pos{Path: commandLine})
	var order []string
	for i, f := range files {
		order = append(order, f.Path)
		if d.cfg.Private == "" {
			d.cfg.Private = f.Private
		}
		n, err := parse(f)
		if err != nil {
			d.errs = append(d.errs, err)
			continue
		}
		if i == 0 {
			d.cfg.Path = f.Path
			tree.pos = n.pos
		}
		tree.merge(n)
	}
	if len(d.errs) > 0 {
		// What is in the other files makes no sense without the broken one.
		return nil, d.errs.sorted(order)
	}
	d.override(tree, o)
	d.apply(d.schema(), "", tree)
	d.finish()
	name, err := poolName(o.Name, d.cfg.Path, d.cfg.Command)
	if err != nil {
		d.errs = append(d.errs, err)
	}
	d.cfg.Name = name
	return d.cfg, d.errs.sorted(order)
}

// decoder fills a Config from the merged tree and collects what is wrong.
type decoder struct {
	cfg     *Config
	listen  []*Listener
	workDir string
	errs    Errors
}

func (d *decoder) errorf(p Pos, format string, args ...any) {
	d.errs = append(d.errs, errorAt(p, format, args...))
}

// apply hands each value to the key that takes it.
func (d *decoder) apply(s schema, name string, n *node) {
	if name != "" {
		d.cfg.Positions[name] = n.pos
	}
	if s.set != nil {
		s.set(name, n)
		return
	}
	if !n.table {
		d.errorf(n.pos, "%s must be a table, not %s", name, show(n.value))
		return
	}
	for _, key := range n.order {
		child := n.children[key]
		sub, err := s.key(key)
		if err != nil {
			d.errorf(child.pos, "%s", d.explain(s, name, key, err))
			continue
		}
		d.apply(sub, dotted(name, key), child)
	}
}

// explain says what may have been meant by a key that does not exist: a name
// like it in the same table, or in another.
func (d *decoder) explain(s schema, table, key string, err error) string {
	if !errors.Is(err, errUnknown) {
		return err.Error()
	}
	where := ""
	if table != "" {
		where = " in [" + table + "]"
	}
	msg := fmt.Sprintf("unknown key %q%s", key, where)
	if n := Nearest(key, s.names()); n != "" {
		return msg + "; did you mean " + n + "?"
	}
	root := d.schema()
	var owners []string
	for _, name := range root.names() {
		if name != table && slices.Contains(root.keys[name].names(), key) {
			owners = append(owners, "["+name+"]")
		}
	}
	if len(owners) > 0 {
		return msg + "; it belongs in " + strings.Join(owners, " or ")
	}
	if table != "" && slices.Contains(root.names(), key) {
		return msg + "; it belongs at the top of the file, before the first [table]"
	}
	if n := nearestElsewhere(root, key); n != "" {
		return msg + "; did you mean " + n + "?"
	}
	return msg
}

func nearestElsewhere(root schema, key string) string {
	for _, name := range root.names() {
		if n := Nearest(key, root.keys[name].names()); n != "" {
			return n + " in [" + name + "]"
		}
	}
	return ""
}

func dotted(table, key string) string {
	if table == "" {
		return key
	}
	return table + "." + key
}
