package packages_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// step is a block of commands of a paper and, where one follows it, the block
// of what they print; nothing, where none does.
type step struct {
	line     int
	commands string
	prints   string
}

// steps are the ```sh blocks of a paper, in order, each with the ```text block
// behind it.
func steps(text string) []step {
	var all []step
	kind, block := "", ""
	for i, line := range strings.Split(text, "\n") {
		fence, ok := strings.CutPrefix(line, "```")
		switch {
		case ok && kind == "":
			kind, block = fence, ""
		case ok && kind == "sh":
			all = append(all, step{line: i + 1, commands: block})
			kind = ""
		case ok:
			if kind == "text" && len(all) > 0 {
				all[len(all)-1].prints = block
			}
			kind = ""
		case kind != "":
			block += line + "\n"
		}
	}
	return all
}

// shows tells whether out is what a ```text block shows: … on a line of its own
// stands for any lines, … in a line for any text, and spaces for spaces.
func shows(prints, out string) bool {
	var pattern strings.Builder
	pattern.WriteString(`^`)
	for line := range strings.Lines(prints) {
		line = strings.TrimRight(line, "\n ")
		if line == "…" {
			pattern.WriteString(`(?:.*\n)*?`)
			continue
		}
		for i, word := range strings.Fields(line) {
			if i > 0 {
				pattern.WriteString(`[ ]*`)
			}
			parts := strings.Split(word, "…")
			for j, part := range parts {
				if j > 0 {
					pattern.WriteString(`.*?`)
				}
				pattern.WriteString(regexp.QuoteMeta(part))
			}
		}
		pattern.WriteString(`[ ]*\n`)
	}
	pattern.WriteString(`$`)
	squeezed := regexp.MustCompile(`(?m)^ +`).ReplaceAllString(out, "")
	return regexp.MustCompile(pattern.String()).MatchString(squeezed)
}

func TestShows(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		prints, out string
		want        bool
	}{
		{"a b…\n", "a   b12\n", true},
		{"a b\n", "a bc\n", false},
		{"a\n…\nz\n", "a\nb\nc\nz\n", true},
		{"a\n…\nz\n", "a\nb\n", false},
		{"a\n", "a\nb\n", false},
		{"", "", true},
		{"", "a\n", false},
		{"SLOT  PID\n   1 …  x\n", "SLOT  PID\n   1  117  x\n", true},
	} {
		if got := shows(c.prints, c.out); got != c.want {
			t.Errorf("%q shows %q: %v", c.prints, c.out, got)
		}
	}
}

// The tutorial's commands run in one shell, as a reader types them, and print
// what it shows.
func TestTutorial(t *testing.T) {
	text, err := os.ReadFile("../../docs/TUTORIAL.md")
	if err != nil {
		t.Fatal(err)
	}
	all := steps(string(text))
	if len(all) < 10 {
		t.Fatalf("%d steps are found in it", len(all))
	}
	eachBox(t, func(t *testing.T, b *box) {
		b.dpkg("-i", deb(newer))
		for _, s := range all {
			// Of a shell that stops at the first failure, in the directory where
			// the last one was.
			r := b.Exec("bash", "-ec", `exec 2>&1; cd "$(cat /t/pwd 2>/dev/null || echo /)"; `+"\n"+s.commands+"\npwd >/t/pwd")
			if r.Code != 0 {
				t.Fatalf("docs/TUTORIAL.md, before line %d: %v", s.line, r)
			}
			if !shows(s.prints, r.Out) {
				t.Errorf("docs/TUTORIAL.md, before line %d, shows\n%sand they print\n%s", s.line, s.prints, r.Out)
			}
		}
		if left := b.Processes("hello"); len(left) != 0 {
			t.Errorf("left at its end: %+v", left)
		}
	})
}
