package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// compiled is the JSON Schema as an editor reads it.
func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	text, err := json.Marshal(JSONSchema())
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("fugue.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("fugue.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// leaves are the paths of all keys in a JSON Schema; "Name" stands for names that
// the user gives.
func leaves(path []string, node map[string]any) [][]string {
	if keys, ok := node["properties"].(map[string]any); ok {
		var all [][]string
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			all = append(all, leaves(join(path, key), keys[key].(map[string]any))...)
		}
		return all
	}
	if sub, ok := node["additionalProperties"].(map[string]any); ok && sub["properties"] != nil {
		return leaves(join(path, "Name"), sub)
	}
	return [][]string{path}
}

// document is a file that says one key alone.
func document(path []string, value any) map[string]any {
	doc := map[string]any{path[len(path)-1]: value}
	for i := len(path) - 2; i >= 0; i-- {
		doc = map[string]any{path[i]: doc}
	}
	return doc
}

// Each key gets values of every kind, and those that the full example has for
// it: what the parser takes, the schema takes; and what is of the wrong kind to
// the one is to the other.
func TestJSONSchemaIsTheParsers(t *testing.T) {
	schema := compiled(t)
	values := []struct {
		toml string
		json any
	}{
		{`true`, true}, {`5`, 5.0}, {`0`, 0.0}, {`-1000000`, -1000000.0}, {`1.5`, 1.5},
		{`"5"`, "5"}, {`"word"`, "word"}, {`"64M"`, "64M"}, {`"90s"`, "90s"}, {`"25%"`, "25%"}, {`"0660"`, "0660"},
		{`"infinity"`, "infinity"}, {`"auto"`, "auto"}, {`"TERM"`, "TERM"}, {`"keep"`, "keep"}, {`"notify"`, "notify"}, {`"ipv6-only"`, "ipv6-only"}, {`"puma"`, "puma"},
		{`"/var/log/x"`, "/var/log/x"}, {`"json"`, "json"}, {`"error"`, "error"}, {`"none"`, "none"}, {`"stderr"`, "stderr"}, {`"socket"`, "socket"},
		{`"off"`, "off"}, {`"root"`, "root"}, {`"hold"`, "hold"},
		{`[]`, []any{}}, {`["word"]`, []any{"word"}}, {`[5]`, []any{5.0}}, {`{}`, map[string]any{}},
		{`{ A = "b" }`, map[string]any{"A": "b"}}, {`{ A = 5 }`, map[string]any{"A": 5.0}}, {`{ A = [] }`, map[string]any{"A": []any{}}},
	}
	for _, path := range leaves(nil, JSONSchema()) {
		key := strings.Join(path, ".")
		taken := 0
		for _, v := range values {
			_, err := Parse([]File{{Path: "/etc/fugue/x.toml", Text: fmt.Appendf(nil, "%s = %s\n", key, v.toml)}}, Options{WorkDir: "/"})
			refused := ""
			for _, line := range strings.Split(fmt.Sprint(err), "\n") {
				// "KEY needs …" is about another key beside it.
				if _, about, ok := strings.Cut(line, ": error: "+key); ok && !strings.HasPrefix(about, " needs ") {
					refused = line
				}
			}
			invalid := schema.Validate(document(path, v.json))
			if refused == "" {
				taken++
			}
			if refused == "" && invalid != nil {
				t.Errorf("%s = %s: the parser takes it, the JSON Schema does not: %v\nmend the form of its schema in internal/config", key, v.toml, invalid)
			}
			// What is of the right kind and still wrong has its reason behind it.
			if kind := strings.Contains(refused, " must be ") && !strings.Contains(refused[strings.Index(refused, ", not "):], ": "); kind && invalid == nil {
				t.Errorf("%s = %s: the JSON Schema takes it, the parser does not: %s\nmend the form of its schema in internal/config", key, v.toml, refused)
			}
		}
		if taken == 0 {
			t.Errorf("%s: none of the values is one for it: add one to this test", key)
		}
	}
}

func TestJSONSchemaOfExamples(t *testing.T) {
	schema := compiled(t)
	tree, perr := parse(File{Path: "/etc/fugue/web.toml", Text: []byte(full)})
	if perr != nil {
		t.Fatal(perr)
	}
	if err := schema.Validate(plain(tree)); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"workres = 4", "[reload]\nmax_surg = 1", "[listen.http]\nstraem = \"80\""} {
		tree, perr := parse(File{Path: "/etc/fugue/web.toml", Text: []byte(bad)})
		if perr != nil {
			t.Fatal(perr)
		}
		if schema.Validate(plain(tree)) == nil {
			t.Errorf("it takes %q", bad)
		}
	}
}

// plain is a tree as encoding/json would have it.
func plain(n *node) any {
	switch {
	case n.table:
		m := map[string]any{}
		for key, child := range n.children {
			m[key] = plain(child)
		}
		return m
	case n.elems != nil:
		var list []any
		for _, e := range n.elems {
			list = append(list, plain(e))
		}
		return list
	}
	if i, ok := n.value.(int64); ok {
		return float64(i)
	}
	return n.value
}
