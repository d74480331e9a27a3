package config

import (
	"errors"
	"fmt"
	"strings"
)

// Placeholder is one {kind} or {kind:NAME} of a command or a variable.
type Placeholder struct {
	Kind string // fd, addr, host, port, worker, generation
	Name string // of a listener; empty: the only one
}

// String is how the file writes it.
func (p Placeholder) String() string {
	if p.Name == "" {
		return "{" + p.Kind + "}"
	}
	return "{" + p.Kind + ":" + p.Name + "}"
}

// OfListener tells the placeholders about a socket from those about the worker.
func (p Placeholder) OfListener() bool { return p.Kind != "worker" && p.Kind != "generation" }

// part is a literal text or, where Kind is set, a placeholder.
type part struct {
	text string
	hole Placeholder
}

// Template is a string with placeholders; {{ and }} stand for { and }.
type Template struct {
	text  string
	parts []part
}

// ParseTemplate finds the placeholders of s.
func ParseTemplate(s string) (Template, error) {
	t := Template{text: s}
	var lit strings.Builder
	for rest := s; rest != ""; {
		i := strings.IndexAny(rest, "{}")
		if i < 0 {
			lit.WriteString(rest)
			break
		}
		lit.WriteString(rest[:i])
		brace := rest[i]
		rest = rest[i+1:]
		switch {
		case rest != "" && rest[0] == brace:
			lit.WriteByte(brace)
			rest = rest[1:]
			continue
		case brace == '}':
			return Template{}, errors.New(`a "}" without a "{"; a literal one is written "}}"`)
		}
		inside, after, closed := strings.Cut(rest, "}")
		if !closed {
			return Template{}, errors.New(`a "{" without a "}"; a literal one is written "{{"`)
		}
		hole, err := parsePlaceholder(inside)
		if err != nil {
			return Template{}, err
		}
		t.parts = append(t.parts, part{text: lit.String()}, part{hole: hole})
		lit.Reset()
		rest = after
	}
	t.parts = append(t.parts, part{text: lit.String()})
	return t, nil
}

func parsePlaceholder(inside string) (Placeholder, error) {
	kind, name, named := strings.Cut(inside, ":")
	p := Placeholder{Kind: kind, Name: name}
	switch kind {
	case "fd", "addr", "host", "port":
		if named && !validName(name) {
			return p, fmt.Errorf("placeholder %q: %q is not a listener's name", "{"+inside+"}", name)
		}
	case "worker", "generation":
		if named {
			return p, fmt.Errorf("placeholder %q takes no name", "{"+inside+"}")
		}
	default:
		return p, fmt.Errorf(`unknown placeholder %q; known are {fd} {addr} {host} {port} {worker} {generation}, and a literal brace is written "{{" or "}}"`, "{"+inside+"}")
	}
	return p, nil
}

// Literal is a template of a text without placeholders.
func Literal(s string) Template {
	return Template{
		text:  strings.NewReplacer("{", "{{", "}", "}}").Replace(s),
		parts: []part{{text: s}},
	}
}

// String is the text as it was written.
func (t Template) String() string { return t.text }

// literal is the text of a template that has no placeholders.
func (t Template) literal() string {
	s, _ := t.Expand(func(Placeholder) (string, error) { return "", nil })
	return s
}

// Placeholders lists them in order.
func (t Template) Placeholders() []Placeholder {
	var all []Placeholder
	for _, p := range t.parts {
		if p.hole.Kind != "" {
			all = append(all, p.hole)
		}
	}
	return all
}

// Expand puts in what value says for each placeholder.
func (t Template) Expand(value func(Placeholder) (string, error)) (string, error) {
	var b strings.Builder
	for _, p := range t.parts {
		b.WriteString(p.text)
		if p.hole.Kind == "" {
			continue
		}
		v, err := value(p.hole)
		if err != nil {
			return "", err
		}
		b.WriteString(v)
	}
	return b.String(), nil
}

// Partly expands the placeholders for which value answers true, and leaves the
// others for later.
func (t Template) Partly(value func(Placeholder) (string, bool, error)) (Template, error) {
	var out Template
	escape := strings.NewReplacer("{", "{{", "}", "}}")
	for _, p := range t.parts {
		if p.hole.Kind != "" {
			v, known, err := value(p.hole)
			if err != nil {
				return Template{}, err
			}
			if !known {
				out.parts = append(out.parts, p)
				out.text += p.hole.String()
				continue
			}
			p = part{text: v}
		}
		out.parts = append(out.parts, p)
		out.text += escape.Replace(p.text)
	}
	return out, nil
}

// MarshalText is the text as it was written.
func (t Template) MarshalText() ([]byte, error) { return []byte(t.text), nil }

// UnmarshalText reads it back.
func (t *Template) UnmarshalText(b []byte) error {
	parsed, err := ParseTemplate(string(b))
	*t = parsed
	return err
}
