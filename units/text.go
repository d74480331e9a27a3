package units

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"fugue/internal/config"
)

// section is one [Section] of a unit file.
type section struct {
	name  string
	lines []line
}

// line is KEY=VALUE, or a comment above the next one where key is empty.
type line struct{ key, value string }

func (s *section) say(key, value string)             { s.lines = append(s.lines, line{key, value}) }
func (s *section) sayf(key, format string, a ...any) { s.say(key, fmt.Sprintf(format, a...)) }

// overrule lays what the file says itself over the section: a key that is said
// there is said nowhere else.
func (s *section) overrule(settings []config.Setting) {
	for _, set := range settings {
		s.lines = slices.DeleteFunc(s.lines, func(l line) bool { return l.key == set.Key })
		for _, value := range set.Values {
			s.say(set.Key, value)
		}
	}
}

// text is the whole unit file: comment lines, then the sections.
func text(head []string, sections ...section) string {
	var b strings.Builder
	for _, l := range head {
		b.WriteString("# " + oneLine(l) + "\n")
	}
	for _, s := range sections {
		if len(s.lines) == 0 {
			continue
		}
		b.WriteString("\n[" + s.name + "]\n")
		for _, l := range s.lines {
			b.WriteString(l.key + "=" + l.value + "\n")
		}
	}
	return b.String()
}

// literal is a value in which systemd must see no specifier.
func literal(s string) string { return strings.ReplaceAll(s, "%", "%%") }

// word is one word of a command or a list of paths: systemd.syntax(7), quoted
// where it has to be.
func word(s string, command bool) string {
	plain := func(r rune) bool {
		return r < 0x80 && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("_./:@+,=-", r))
	}
	s = literal(s)
	if command {
		s = strings.ReplaceAll(s, "$", "$$")
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) && r != '%' }) < 0 {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// span is a time as systemd.time(7) reads it.
func span(d time.Duration) string {
	switch {
	case d == config.Infinity:
		return "infinity"
	case d%time.Second == 0:
		return strconv.FormatInt(int64(d/time.Second), 10) + "s"
	}
	return strconv.FormatInt(int64((d+time.Millisecond-1)/time.Millisecond), 10) + "ms"
}

// longest is how much of an error a line of `systemctl status` is to hold.
const longest = 400

// oneLine makes a text fit for one line that a terminal shows and never obeys.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	s = strings.TrimRight(strings.TrimSpace(s), `\`)
	if r := []rune(s); len(r) > longest {
		s = string(r[:longest]) + "…"
	}
	return s
}
