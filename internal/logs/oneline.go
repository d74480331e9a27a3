// Package logs is where output goes, the workers' and the master's own, and what
// a verdict quotes of it.
//
// A worker's output never depends on the master's life: its pipes are open for
// reading on its own side too, so a write after the master's death is no EPIPE
// (programs die of it), and a successor finds them again. What workers say is
// hostile until it went through OneLine.
package logs

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxLine is the length of what OneLine gives, in bytes.
const maxLine = 256

// OneLine makes a worker's text fit for a status line, a terminal or a log:
// one line of printable UTF-8, at most 256 bytes, cut with an ellipsis. Escape
// sequences go, white space becomes single spaces, anything else that does not
// print (controls, text direction marks, broken UTF-8) becomes U+FFFD.
func OneLine(s string) string {
	var b strings.Builder
	space := false
	for len(s) > 0 {
		if n := escape(s); n > 0 {
			s = s[n:]
			continue
		}
		r, n := utf8.DecodeRuneInString(s)
		s = s[n:]
		if unicode.IsSpace(r) {
			space = b.Len() > 0
			continue
		}
		if !unicode.IsPrint(r) {
			r = utf8.RuneError
		}
		if space {
			b.WriteByte(' ')
			space = false
		}
		b.WriteRune(r)
		if b.Len() > maxLine {
			return cut(b.String())
		}
	}
	return b.String()
}

func cut(s string) string {
	const more = "…"
	end := maxLine - len(more)
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return strings.TrimRight(s[:end], " ") + more
}

// escape is the length of the terminal control sequence that s begins with
// (ECMA-48): ESC [ … final byte, ESC ] … BEL or ESC \, or ESC and one
// byte. A lone ESC is one too.
func escape(s string) int {
	if s[0] != 0x1b {
		return 0
	}
	if len(s) == 1 {
		return 1
	}
	switch s[1] {
	case '[':
		for i := 2; i < len(s); i++ {
			if s[i] >= 0x40 && s[i] <= 0x7e {
				return i + 1
			}
			if s[i] < 0x20 || s[i] > 0x7e {
				return i // broken off
			}
		}
		return len(s)
	case ']', 'P', '^', '_', 'X':
		for i := 2; i < len(s); i++ {
			if s[i] == 0x07 {
				return i + 1
			}
			if s[i] == 0x1b && i+1 < len(s) && s[i+1] == '\\' {
				return i + 2
			}
			if s[i] == '\n' {
				return i // a line is not swallowed for want of an end
			}
		}
		return len(s)
	}
	if s[1] >= 0x20 && s[1] <= 0x7e {
		return 2
	}
	return 1
}

// Printable makes any text one line that a terminal shows and never obeys: an
// escape sequence in a worker's status must not reach the terminal of root.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == utf8.RuneError, r != ' ' && !unicode.IsPrint(r):
			if unicode.IsSpace(r) {
				return ' '
			}
			return '?'
		}
		return r
	}, s)
}
