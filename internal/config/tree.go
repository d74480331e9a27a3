package config

import (
	"cmp"
	"errors"
	"slices"
	"strconv"

	"github.com/pelletier/go-toml/v2"
)

// node is one value of the files with the place where it was said.
type node struct {
	pos      Pos      // of the key; of the element in an array
	value    any      // string, int64, float64, bool, a date, []any; unused in a table
	elems    []*node  // of an array
	table    bool     // children may be empty: [reload] with nothing below
	order    []string // of the children, as written
	children map[string]*node
}

func newTable(pos Pos) *node {
	return &node{pos: pos, table: true, children: map[string]*node{}}
}

func (n *node) set(key string, child *node) {
	if _, ok := n.children[key]; !ok {
		n.order = append(n.order, key)
	}
	n.children[key] = child
}

// merge lays what a later file says over n: tables key by key, everything else
// replaced as a whole. A listener that is said again keeps its place, so that a
// drop-in cannot renumber the file descriptors of the others.
func (n *node) merge(over *node) {
	for _, key := range over.order {
		mine, theirs := n.children[key], over.children[key]
		if mine != nil && mine.table && theirs.table {
			mine.merge(theirs)
			continue
		}
		n.set(key, theirs)
	}
}

// parse makes the tree of one file. The decoder is the judge of what is TOML;
// where each key stands comes from a second walk over the same text, because
// the decoder does not tell it.
func parse(f File) (*node, *Error) {
	var values map[string]any
	if err := toml.Unmarshal(f.Text, &values); err != nil {
		p := Pos{Path: f.Path, Line: 1, Col: 1}
		msg := err.Error()
		var derr *toml.DecodeError
		if errors.As(err, &derr) {
			p.Line, p.Col = derr.Position()
		}
		return nil, errorAt(p, "%s", trimTOML(msg))
	}
	top := Pos{Path: f.Path, Line: 1, Col: 1}
	return build(values, nil, top, index(f)), nil
}

func build(v any, path []string, around Pos, places map[string]Pos) *node {
	pos, ok := places[pathKey(path)]
	if !ok {
		pos = around
	}
	switch v := v.(type) {
	case map[string]any:
		n := newTable(pos)
		for key, value := range v {
			n.set(key, build(value, join(path, key), pos, places))
		}
		slices.SortFunc(n.order, func(a, b string) int {
			pa, pb := n.children[a].pos, n.children[b].pos
			return cmp.Or(cmp.Compare(pa.Line, pb.Line), cmp.Compare(pa.Col, pb.Col), cmp.Compare(a, b))
		})
		return n
	case []any:
		n := &node{pos: pos, value: v}
		for i, value := range v {
			n.elems = append(n.elems, build(value, join(path, element(i)), pos, places))
		}
		return n
	default:
		return &node{pos: pos, value: v}
	}
}

// element is the path component of an array's element. A key of a table may
// look the same, but cannot stand below an array's path.
func element(i int) string { return "[" + strconv.Itoa(i) + "]" }

func join(path []string, last string) []string {
	return append(slices.Clip(path), last)
}
