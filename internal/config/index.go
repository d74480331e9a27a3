package config

import (
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// pathKey joins with a byte that no TOML key can contain unescaped, since a
// quoted key may contain dots.
func pathKey(path []string) string { return strings.Join(path, "\x00") }

func trimTOML(msg string) string { return strings.TrimPrefix(msg, "toml: ") }

// indexer collects the places of all keys of a text.
type indexer struct {
	path   string
	lines  []int // offset of the beginning of each line
	places map[string]Pos
}

// index walks a text that the decoder has accepted.
func index(f File) map[string]Pos {
	x := &indexer{path: f.Path, lines: []int{0}, places: map[string]Pos{}}
	for i, c := range f.Text {
		if c == '\n' {
			x.lines = append(x.lines, i+1)
		}
	}
	var p unstable.Parser
	p.Reset(f.Text)
	var table []string
	for p.NextExpression() {
		switch e := p.Expression(); e.Kind {
		case unstable.Table, unstable.ArrayTable:
			table, _ = x.keys(nil, e)
		case unstable.KeyValue:
			x.keyValue(table, e)
		}
	}
	return x.places
}

// keys notes each part of a dotted key and returns the whole path, and the
// place of its last part.
func (x *indexer) keys(base []string, n *unstable.Node) ([]string, Pos) {
	path, last := slices.Clip(base), Pos{}
	for it := n.Key(); it.Next(); {
		path = append(path, string(it.Node().Data))
		last = x.at(it.Node().Raw)
		x.note(path, last)
	}
	return path, last
}

func (x *indexer) keyValue(base []string, n *unstable.Node) {
	path, key := x.keys(base, n)
	x.value(path, key, n.Value())
}

// value notes what is inside a value and returns where it begins; the parser
// does not say that of arrays, for which it is the key.
func (x *indexer) value(path []string, key Pos, v *unstable.Node) Pos {
	switch v.Kind {
	case unstable.InlineTable:
		for it := v.Children(); it.Next(); {
			x.keyValue(path, it.Node())
		}
		return key
	case unstable.Array:
		i := 0
		for it := v.Children(); it.Next(); i++ {
			sub := join(path, element(i))
			pos := x.value(sub, key, it.Node())
			x.note(sub, pos)
		}
		return key
	default:
		return x.at(v.Raw)
	}
}

func (x *indexer) note(path []string, at Pos) {
	k := pathKey(path)
	if _, ok := x.places[k]; !ok {
		x.places[k] = at
	}
}

func (x *indexer) at(r unstable.Range) Pos {
	offset := int(r.Offset)
	line, exact := slices.BinarySearch(x.lines, offset)
	if !exact {
		line--
	}
	return Pos{Path: x.path, Line: line + 1, Col: offset - x.lines[line] + 1}
}
