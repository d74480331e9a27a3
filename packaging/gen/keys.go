package main

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// A row is what a table of docs/CONFIG.md says about a key.
type row struct {
	means string // Markdown
	other string // its default, "" where the table has none
}

var (
	headings  = regexp.MustCompile(`\[([^\]]+)\]`)
	codeWords = regexp.MustCompile("`([^`]+)`")
)

// rows reads the tables below the headings "### [TABLE]" of docs/CONFIG.md, and
// "### Top of the file", by dotted key. For [listen.NAME] the key has the NAME.
// tables are all that have a heading.
func rows(markdown string) (found map[string]row, tables []string) {
	found = map[string]row{}
	var here []string
	for _, block := range blocks(markdown) {
		if title, ok := strings.CutPrefix(block, "### "); ok {
			here = nil
			for _, m := range headings.FindAllStringSubmatch(title, -1) {
				here = append(here, m[1]+".")
				tables = append(tables, m[1])
			}
			if strings.HasPrefix(title, "Top of the file") {
				here = []string{""}
			}
			continue
		}
		if strings.HasPrefix(block, "## ") {
			here = nil
		}
		cells := table(block)
		if len(cells) == 0 || cells[0][0] != "key" {
			continue
		}
		for _, line := range cells[1:] {
			r := row{means: line[1]}
			if len(line) > 2 {
				r.other = line[2]
			}
			for _, m := range codeWords.FindAllStringSubmatch(line[0], -1) {
				for _, table := range here {
					found[table+m[1]] = r
				}
			}
		}
	}
	return found, tables
}

// keyed calls f for each key of a JSON Schema of the file, by the names that
// docs/CONFIG.md has for them.
func keyed(node map[string]any, name string, f func(name string, leaf map[string]any)) {
	dotted := func(key string) string { return strings.TrimPrefix(name+"."+key, ".") }
	if keys, ok := node["properties"].(map[string]any); ok {
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			keyed(keys[key].(map[string]any), dotted(key), f)
		}
		return
	}
	if sub, ok := node["additionalProperties"].(map[string]any); ok && sub["properties"] != nil {
		keyed(sub, dotted("NAME"), f)
		return
	}
	f(name, node)
}

// describe puts the words of docs/CONFIG.md into the JSON Schema, for editors to
// show, and says which keys have none and which words are about no key.
func describe(schema map[string]any, markdown string) error {
	said, tables := rows(markdown)
	var wrong []string
	keyed(schema, "", func(name string, leaf map[string]any) {
		r, ok := said[name]
		if !ok {
			if table, key := cutLast(name); !slices.Contains(tables, name) {
				wrong = append(wrong, fmt.Sprintf("the key %s has no row: add `%s` to the table below %q", name, key, heading(table)))
			}
			return
		}
		delete(said, name)
		leaf["description"] = strings.Join(strings.Fields(plainText(r.means)+defaults(r.other)), " ")
	})
	for _, name := range slices.Sorted(maps.Keys(said)) {
		wrong = append(wrong, fmt.Sprintf("the row of %s is about no key of the parser (internal/config/schema.go)", name))
	}
	if len(wrong) > 0 {
		return fmt.Errorf("docs/CONFIG.md: %s", strings.Join(wrong, "\ndocs/CONFIG.md: "))
	}
	return nil
}

func defaults(text string) string {
	if text == "" {
		return ""
	}
	return ". Default: " + plainText(text)
}

func cutLast(name string) (table, key string) {
	i := strings.LastIndexByte(name, '.')
	return name[:max(i, 0)], name[i+1:]
}

func heading(table string) string {
	if table == "" {
		return "### Top of the file"
	}
	return "### [" + table + "]"
}
