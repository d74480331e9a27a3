package config

import (
	"strconv"
	"strings"
)

// Override is one flag that says the same as a key of the file and wins.
type Override struct {
	Key   string // "workers", "reload.max_surge", "listen.http.backlog"
	Value string // of a Pairs key: NAME=VALUE. Several for one List or Pairs key add up
	Flag  string // how errors call it; empty: "--" and the key
}

// override lays the flags over the tree of the files.
func (d *decoder) override(tree *node, o Options) {
	var known schema
	if len(o.Overrides) > 0 { // a generator reads a hundred files, and no flags
		known = scratch()
	}
	said := map[string]bool{} // lists that a flag has begun anew
	for _, v := range o.Overrides {
		at := Pos{Path: v.Flag}
		if at.Path == "" {
			at.Path = "--" + v.Key
		}
		path := splitKey(v.Key)
		s := known
		for i, part := range path {
			sub, err := s.key(part)
			if err != nil {
				d.errorf(at, "%s", d.explain(s, strings.Join(path[:i], "."), part, err))
				s = schema{}
				break
			}
			s = sub
		}
		if s.set == nil {
			if s.keys != nil || s.each != nil {
				d.errorf(at, "%s is a table and not a key", v.Key)
			}
			continue
		}
		table := descend(tree, path[:len(path)-1], at)
		d.put(table, path[len(path)-1], s.kind, v, at, said)
	}
	d.listenFlags(tree, o.Listen)
}

// splitKey separates tables from keys; the name of a listener may have dots.
func splitKey(key string) []string {
	if rest, ok := strings.CutPrefix(key, "listen."); ok {
		if i := strings.LastIndexByte(rest, '.'); i > 0 {
			return []string{"listen", rest[:i], rest[i+1:]}
		}
	}
	return strings.Split(key, ".")
}

func descend(n *node, path []string, at Pos) *node {
	for _, key := range path {
		child := n.children[key]
		if child == nil || !child.table {
			child = newTable(at)
			n.set(key, child)
		}
		n = child
	}
	return n
}

func (d *decoder) put(table *node, key string, kind Kind, v Override, at Pos, said map[string]bool) {
	leaf := &node{pos: at, value: v.Value}
	switch kind {
	case Number:
		if n, err := strconv.ParseInt(v.Value, 10, 64); err == nil {
			leaf.value = n
		}
	case Boolean:
		if b, err := strconv.ParseBool(v.Value); err == nil {
			leaf.value = b
		}
	case List:
		list := table.children[key]
		if !said[v.Key] || list == nil {
			list = &node{pos: at}
			said[v.Key] = true
		}
		list.elems = append(list.elems, leaf)
		values := make([]any, len(list.elems))
		for i, e := range list.elems {
			values[i] = e.value
		}
		list.value, leaf = values, list
	case Pairs:
		name, value, ok := strings.Cut(v.Value, "=")
		if !ok {
			d.errorf(at, "%q is not of the form NAME=VALUE", v.Value)
			return
		}
		leaf.value = value
		table, key = descend(table, []string{key}, at), name
	}
	table.set(key, leaf)
}

// listenFlags adds the listeners of -l. One without a name is http, but only
// where there is no other: a worker finds its sockets by these names.
func (d *decoder) listenFlags(tree *node, flags []string) {
	at := Pos{Path: "--listen"}
	nameless := ""
	seen := map[string]bool{}
	for _, arg := range flags {
		name, addr := splitListen(arg)
		if name == "" {
			if nameless != "" {
				d.errorf(at, "%q and %q: two listeners need names: NAME=ADDRESS", nameless, arg)
				continue
			}
			nameless, name = arg, "http"
		}
		if err := listenerName(name); err != nil {
			d.errorf(at, "%s", err)
			continue
		}
		if seen[name] {
			d.errorf(at, "%q: there is another listener named %s", arg, name)
			continue
		}
		seen[name] = true
		table := descend(tree, []string{"listen", name}, at)
		delete(table.children, "datagram") // the flag wins
		table.order = remove(table.order, "datagram")
		table.set("stream", &node{pos: at, value: addr})
	}
	if listen := tree.children["listen"]; nameless != "" && len(listen.order) > 1 {
		d.errorf(at, "%q needs a name, NAME=%s: there are other listeners (%s)", nameless, nameless,
			strings.Join(remove(listen.order, "http"), ", "))
	}
}

// splitListen takes NAME= off; a path may contain "=", but a name no slash.
func splitListen(arg string) (name, addr string) {
	name, addr, ok := strings.Cut(arg, "=")
	if !ok || !validName(name) && (name == "" || strings.ContainsAny(name, "/@[")) {
		return "", arg
	}
	return name, addr
}

func remove(list []string, word string) []string {
	var out []string
	for _, s := range list {
		if s != word {
			out = append(out, s)
		}
	}
	return out
}
