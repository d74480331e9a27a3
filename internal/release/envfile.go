package release

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"fugue/internal/config"
)

// maxEnvFile bounds a file that was named by mistake; execve(2) takes no more.
const maxEnvFile = 1 << 20

type entry struct{ name, value string }

// parseEnv reads the text of an EnvironmentFile= of systemd.exec(5): NAME=VALUE
// lines, comments with # and ;, quotes, a backslash at the end of a line. What
// systemd passes over in silence (a line without "=", an impossible name, a
// quote that stays open) is an error, because it is never what was meant.
func parseEnv(path string, text []byte) ([]entry, config.Errors) {
	p := &envParser{path: path, text: string(text), line: 1, col: 1}
	for p.skip(" \t\r\n") {
		if c := p.text[0]; c == '#' || c == ';' {
			for p.text != "" && p.next() != '\n' {
			}
			continue
		}
		p.assignment()
	}
	return p.entries, p.errs
}

type envParser struct {
	path      string
	text      string // what is left
	line, col int
	entries   []entry
	errs      config.Errors
}

func (p *envParser) next() byte {
	c := p.text[0]
	p.text = p.text[1:]
	p.col++
	if c == '\n' {
		p.line, p.col = p.line+1, 1
	}
	return c
}

// skip passes over any of these bytes, and tells whether there is more.
func (p *envParser) skip(bytes string) bool {
	for p.text != "" && strings.IndexByte(bytes, p.text[0]) >= 0 {
		p.next()
	}
	return p.text != ""
}

func (p *envParser) assignment() {
	line, col := p.line, p.col
	fail := func(format string, args ...any) {
		p.errs = append(p.errs, &config.Error{Path: p.path, Line: line, Col: col, Msg: fmt.Sprintf(format, args...)})
	}
	var name strings.Builder
	for p.text != "" && p.text[0] != '=' && p.text[0] != '\n' {
		name.WriteByte(p.next())
	}
	key := strings.TrimRight(name.String(), " \t\r")
	if p.text == "" || p.text[0] == '\n' {
		fail("%s is not of the form NAME=VALUE", show(key))
		return
	}
	p.next()
	value, closed := p.value()
	switch {
	case !closed:
		fail("the quote in the value of %s is not closed", show(key))
	case strings.HasPrefix(key, "export "):
		fail("%s: leave export out, this is no shell script", show(key))
	case !config.ValidVariable(key):
		fail("%s cannot name an environment variable: letters, digits and _ only, and no digit first", show(key))
	case config.ReservedVariable(key):
		fail("%s is for fugue to set", key)
	case strings.ContainsRune(value, 0) || !utf8.ValidString(value):
		fail("the value of %s is no text: it contains a NUL byte or is not UTF-8", key)
	default:
		p.entries = append(p.entries, entry{key, value})
	}
}

func show(s string) string {
	if len(s) > 60 {
		s = s[:60] + "…"
	}
	return fmt.Sprintf("%q", s)
}

// value reads up to the end of the line; quoted pieces and others may follow
// each other, and blanks around them do not count.
func (p *envParser) value() (string, bool) {
	var b strings.Builder
	for {
		// systemd passes over line ends of MS-DOS in front of a value.
		p.skip(" \t\r")
		if p.text == "" {
			return b.String(), true
		}
		switch c := p.text[0]; c {
		case '\n':
			p.next()
			return b.String(), true
		case '\'', '"':
			p.next()
			if !p.quoted(&b, c) {
				return "", false
			}
		default:
			return b.String() + p.bare(), true
		}
	}
}

func (p *envParser) quoted(b *strings.Builder, quote byte) bool {
	for p.text != "" {
		c := p.next()
		switch {
		case c == quote:
			return true
		case c == '\\' && quote == '"' && p.text != "":
			switch e := p.next(); e {
			case '"', '\\', '`', '$':
				b.WriteByte(e)
			case '\n': // the line goes on
			default:
				b.WriteByte('\\')
				b.WriteByte(e)
			}
		default:
			b.WriteByte(c)
		}
	}
	return false
}

// bare reads an unquoted piece, which goes to the end of the line: a quote in
// the middle of it is a letter like any other. It is the last piece.
func (p *envParser) bare() string {
	var b strings.Builder
	keep := 0 // blanks behind this do not count
	for p.text != "" {
		c := p.next()
		if c == '\n' {
			break
		}
		if c == '\\' {
			if p.text != "" && p.text[0] != '\n' {
				b.WriteByte(p.text[0])
			}
			if p.text != "" {
				p.next()
			}
			keep = b.Len()
			continue
		}
		b.WriteByte(c)
		if strings.IndexByte(" \t\r", c) < 0 {
			keep = b.Len()
		}
	}
	return b.String()[:keep]
}
