package config

import (
	"errors"
	"strings"
	"testing"
)

func named(p Placeholder) (string, error) { return "<" + p.Kind + "|" + p.Name + ">", nil }

func TestTemplate(t *testing.T) {
	for text, want := range map[string]string{
		"":                         "",
		"plain":                    "plain",
		"fd://{fd}":                "fd://<fd|>",
		"{fd:a.b}{addr:x}":         "<fd|a.b><addr|x>",
		"{{fd}}":                   "{fd}",
		"{{{fd}}}":                 "{<fd|>}",
		"{worker}/{generation}":    "<worker|>/<generation|>",
		`{{"a": {{"b": {port}}}}}`: `{"a": {"b": <port|>}}`,
		"{host}:{port}":            "<host|>:<port|>",
		"}}{{":                     "}{",
	} {
		tpl, err := ParseTemplate(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if got, _ := tpl.Expand(named); got != want || tpl.String() != text {
			t.Errorf("%q: %q, not %q", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"{":            `a "{" without a "}"; a literal one is written "{{"`,
		"a}":           `a "}" without a "{"; a literal one is written "}}"`,
		"{fd}}":        `a "}" without a "{"; a literal one is written "}}"`,
		"{}":           `unknown placeholder "{}"; known are`,
		"{FD}":         `unknown placeholder "{FD}"; known are`,
		"{fd:}":        `placeholder "{fd:}": "" is not a listener's name`,
		"{worker:a}":   `placeholder "{worker:a}" takes no name`,
		`{"a": 1}`:     `unknown placeholder "{\"a\": 1}"; known are`,
		"{fd:a\x1b[m}": `placeholder "{fd:a\x1b[m}": "a\x1b[m" is not a listener's name`,
	} {
		if _, err := ParseTemplate(text); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestPartly(t *testing.T) {
	tpl, err := ParseTemplate("{{x}}-{fd}-{worker}")
	if err != nil {
		t.Fatal(err)
	}
	half, err := tpl.Partly(func(p Placeholder) (string, bool, error) { return "{3}", p.OfListener(), nil })
	if err != nil {
		t.Fatal(err)
	}
	if half.String() != "{{x}}-{{3}}-{worker}" {
		t.Error(half)
	}
	if got, _ := half.Expand(named); got != "{x}-{3}-<worker|>" {
		t.Error(got)
	}
	bad := errors.New("bad")
	if _, err := tpl.Partly(func(Placeholder) (string, bool, error) { return "", false, bad }); !errors.Is(err, bad) {
		t.Error(err)
	}
	if _, err := tpl.Expand(func(Placeholder) (string, error) { return "", bad }); !errors.Is(err, bad) {
		t.Error(err)
	}
}

func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"", "{fd}", "{{{fd:a}}}", "}}{{", "{worker}{"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, err := Literal(s).Expand(named); err != nil || got != s {
			t.Fatalf("literal %q is %q, %v", s, got, err)
		}
		if again, err := ParseTemplate(Literal(s).String()); err != nil || again.literal() != s {
			t.Fatalf("literal %q reads back as %q, %v", s, again.literal(), err)
		}
		tpl, err := ParseTemplate(s)
		if err != nil {
			return
		}
		want, _ := tpl.Expand(named)
		half, err := tpl.Partly(func(p Placeholder) (string, bool, error) { v, _ := named(p); return v, p.OfListener(), nil })
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseTemplate(half.String())
		if err != nil {
			t.Fatalf("%q: %q: %v", s, half, err)
		}
		if got, _ := again.Expand(named); got != want {
			t.Fatalf("%q: in two steps %q, in one %q", s, got, want)
		}
	})
}
