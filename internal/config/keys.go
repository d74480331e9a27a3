package config

import (
	"errors"
	"fmt"
	"maps"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// strings hands each element of an array of strings to add, with its name and
// its place.
func (d *decoder) strings(what string, add func(name, s string, e *node)) schema {
	return schema{kind: List, set: func(name string, n *node) {
		if n.table {
			d.errorf(n.pos, "%s must be %s, not a table", name, what)
			return
		}
		if _, ok := n.value.([]any); !ok {
			d.errorf(n.pos, "%s must be %s, not %s%s", name, what, show(n.value), asArray(name, n.value))
			return
		}
		for i, e := range n.elems {
			sub := name + element(i)
			d.cfg.Positions[sub] = e.pos
			switch s, ok := e.value.(string); {
			case !ok:
				d.errorf(e.pos, "%s must be a string, not %s", sub, kindOf(e))
			case strings.ContainsRune(s, 0):
				d.errorf(e.pos, "%s: %w", sub, errNUL)
			default:
				add(sub, s, e)
			}
		}
	}}
}

func kindOf(n *node) string {
	if n.table {
		return "a table"
	}
	return show(n.value)
}

// asArray shows what was most likely meant by one string where words are
// wanted; there is no shell that would take it apart.
func asArray(name string, v any) string {
	s, ok := v.(string)
	if !ok || len(s) > 60 || s == "" {
		return ""
	}
	if strings.ContainsAny(s, "'\"\\$`|&;<>*?(){}") {
		return `; for a shell say ["sh", "-c", "exec …"]`
	}
	words := strings.Fields(s)
	for i, w := range words {
		words[i] = strconv.Quote(w)
	}
	_, last, found := strings.Cut(name, ".")
	if !found {
		last = name
	}
	return "; say " + last + " = [" + strings.Join(words, ", ") + "]"
}

func (d *decoder) list(dst *[]string) schema {
	return d.strings("an array of strings", func(name, s string, e *node) {
		if s == "" {
			d.errorf(e.pos, "%s is empty", name)
			return
		}
		*dst = append(*dst, s)
	})
}

// command reads an argv. The program is looked up once for a release, so
// it is the same for all workers.
func (d *decoder) command(dst *[]Template) schema {
	read := d.strings("an array of words", func(name, s string, e *node) {
		t, err := ParseTemplate(s)
		switch {
		case err != nil:
			d.errorf(e.pos, "%s: %w", name, err)
		case len(*dst) == 0 && s == "":
			d.errorf(e.pos, "%s: the program is empty", name)
		case len(*dst) == 0 && len(t.Placeholders()) > 0:
			d.errorf(e.pos, "%s: the program cannot have the placeholder %s: it is looked up once for all workers", name, t.Placeholders()[0])
		}
		// Kept when wrong too, so that an argument is not taken for the program.
		*dst = append(*dst, t)
	})
	return schema{kind: List, set: func(name string, n *node) {
		read.set(name, n)
		if _, ok := n.value.([]any); ok && len(n.elems) == 0 {
			d.errorf(n.pos, "%s is empty", name)
		}
	}}.as(formCommand)
}

func (d *decoder) workers() schema {
	return d.leaf(Number, `a whole number or "auto"`, func(v any) error {
		switch v := v.(type) {
		case int64:
			d.cfg.Workers = int(v)
			return inRange(v, 0, maxWorkers)
		case string:
			if v == "auto" {
				// GOMAXPROCS follows the affinity mask and the cgroup's
				// quota, but is never less than 2 for a quota.
				d.cfg.Workers, d.cfg.WorkersAuto = runtime.GOMAXPROCS(0), true
				return nil
			}
		}
		return errKind
	}).as(form{"anyOf": []any{formRange(0, maxWorkers), formWords("auto")}})
}

func (d *decoder) environment() schema {
	return schema{kind: Pairs, set: func(name string, n *node) {
		if !n.table {
			d.errorf(n.pos, `%s must be a table such as { LANG = "C.UTF-8" }, not %s`, name, show(n.value))
			return
		}
		for _, key := range n.order {
			child := n.children[key]
			d.cfg.Positions[dotted(name, key)] = child.pos
			if v, ok := d.variable(dotted(name, key), key, child); ok {
				d.cfg.Environment = append(d.cfg.Environment, v)
			}
		}
	}}
}

func (d *decoder) variable(name, key string, n *node) (v Variable, ok bool) {
	s, isString := n.value.(string)
	t, err := ParseTemplate(s)
	switch {
	case !ValidVariable(key):
		d.errorf(n.pos, "%q cannot name an environment variable: letters, digits and _ only, and no digit first", key)
	case ReservedVariable(key):
		d.errorf(n.pos, "%s is for fugue to set", name)
	case !isString:
		d.errorf(n.pos, "%s must be a string, not %s", name, kindOf(n))
	case strings.ContainsRune(s, 0):
		d.errorf(n.pos, "%s: %w", name, errNUL)
	case err != nil:
		d.errorf(n.pos, "%s: %w", name, err)
	default:
		return Variable{key, t}, true
	}
	return Variable{}, false
}

func (d *decoder) environmentFiles() schema {
	return d.strings("an array of paths", func(name, s string, e *node) {
		path, optional := strings.CutPrefix(s, "-")
		if path == "" {
			d.errorf(e.pos, "%s is empty", name)
			return
		}
		d.cfg.EnvironmentFiles = append(d.cfg.EnvironmentFiles,
			EnvironmentFile{Path: d.absolute(path, e.pos), Optional: optional})
	})
}

// tmpDirectory reads a path, or the word for the runtime directory.
func (d *decoder) tmpDirectory() schema {
	dst := &d.cfg.TmpDirectory
	s := d.text(dst)
	return schema{kind: Text, form: s.form, set: func(name string, n *node) {
		s.set(name, n)
		if *dst != "" && *dst != TmpRuntime {
			*dst = d.absolute(*dst, n.pos)
		}
	}}
}

// signal reads "TERM", "SIGTERM", "RTMIN+3" or a number.
func (d *decoder) signal(dst *int) schema {
	return d.leaf(Number, `a signal such as "TERM"`, func(v any) error {
		n, err := readSignal(v)
		if err != nil {
			return err
		}
		if n == int(unix.SIGSTOP) {
			return errors.New("it pauses a worker and does not end it")
		}
		*dst = n
		return nil
	}).as(form{"type": []any{"string", "integer"}, "minLength": 1})
}

func readSignal(v any) (int, error) {
	const rtMin, rtMax = 34, 64 // glibc keeps 32 and 33
	switch v := v.(type) {
	case int64:
		return int(v), inRange(v, 1, rtMax)
	case string:
		name := "SIG" + strings.TrimPrefix(strings.ToUpper(v), "SIG")
		if n := unix.SignalNum(name); n != 0 {
			return int(n), nil
		}
		for base, sign := range map[string]int{"SIGRTMIN": rtMin, "SIGRTMAX": rtMax} {
			plus, ok := strings.CutPrefix(name, base)
			if !ok {
				continue
			}
			if plus == "" {
				return sign, nil
			}
			n, err := strconv.Atoi(plus)
			if n += sign; err == nil && n >= rtMin && n <= rtMax {
				return n, nil
			}
		}
		return 0, errors.New("no such signal")
	}
	return 0, errKind
}

// limits are the keys of [limits]: those of setrlimit(2) and the rest.
func (d *decoder) limits() map[string]schema {
	l := &d.cfg.Limits
	var umask uint32
	mask := d.mode(&umask, 0)
	keys := map[string]schema{
		"umask": {kind: Text, set: func(name string, n *node) {
			mask.set(name, n)
			l.Umask = int(umask)
		}, form: mask.form},
		"nice":          d.optionalInteger(&l.Nice, -20, 19),
		"oom_score_adj": d.optionalInteger(&l.OOMScoreAdj, -1000, 1000),
		"no_new_privs":  d.boolean(&l.NoNewPrivs),

		"capability_bounding_set": d.capabilities(&l.CapabilityBoundingSet),
		"ambient_capabilities":    d.capabilities(&l.AmbientCapabilities),
	}
	maps.Copy(keys, d.cgroupKeys(l))
	for _, r := range rlimits {
		keys[r.name] = d.leaf(Number, r.what(), func(v any) error {
			soft, hard, err := r.read(v)
			if err != nil {
				return err
			}
			if soft > hard {
				return fmt.Errorf("the soft limit is above the hard one")
			}
			l.Rlimits = append(l.Rlimits, Rlimit{Name: r.name, Resource: r.resource, Soft: soft, Hard: hard})
			return nil
		}).as(r.form())
	}
	return keys
}
