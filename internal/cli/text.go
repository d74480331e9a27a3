package cli

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"fugue/internal/logs"
)

// printable makes any text one line that a terminal shows and never obeys.
func printable(s string) string { return logs.Printable(s) }

// printableJSON escapes what a terminal would obey and JSON does not: DEL and
// the C1 controls, and with them all else that does not print. Such runes are
// always inside strings, where the escape means the same.
func printableJSON(line []byte) []byte {
	var out []byte
	for _, r := range string(line) {
		switch {
		case r < 0x20 || r == ' ' || unicode.IsPrint(r):
			out = utf8.AppendRune(out, r)
		case r > 0xffff:
			hi, lo := (r-0x10000)>>10+0xd800, (r-0x10000)&0x3ff+0xdc00
			out = fmt.Appendf(out, `\u%04x\u%04x`, hi, lo)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
	}
	return out
}

// columns is how many columns of a terminal s takes: none for a mark on the
// letter before it, two for the wide scripts and pictures.
func columns(s string) int {
	n := 0
	for _, r := range s {
		n += runeColumns(r)
	}
	return n
}

func runeColumns(r rune) int {
	switch {
	case unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	case r >= 0x1100 && unicode.In(r, unicode.Han, unicode.Hangul, unicode.Hiragana, unicode.Katakana),
		r >= 0x3000 && r <= 0x303e, r >= 0xff01 && r <= 0xff60, r >= 0xffe0 && r <= 0xffe6,
		r >= 0x1f300 && r <= 0x1faff:
		return 2
	}
	return 1
}

// truncate cuts s to a width, and shows that it did.
func truncate(s string, width int) string {
	if columns(s) <= width {
		return s
	}
	n := 0
	for i, r := range s {
		if n += runeColumns(r); n > width-1 {
			return s[:i] + "…"
		}
	}
	return s
}

// wrap breaks s into lines of at most width columns, at spaces where there are
// some; the lines after the first begin with indent.
func wrap(s string, width int, indent string) string {
	var out strings.Builder
	room := width
	line := 0 // columns in the current line
	for word := range strings.FieldsSeq(s) {
		if line > 0 && line+1+columns(word) > room {
			out.WriteString("\n" + indent)
			room, line = width-len(indent), 0
		}
		if line > 0 {
			out.WriteByte(' ')
			line++
		}
		for _, r := range word {
			if c := runeColumns(r); line+c > room {
				out.WriteString("\n" + indent)
				room, line = width-len(indent), 0
			}
			out.WriteRune(r)
			line += runeColumns(r)
		}
	}
	return out.String()
}

// chop breaks s into lines of at most width columns and keeps every letter.
func chop(s string, width int) []string {
	var lines []string
	start, n := 0, 0
	for i, r := range s {
		c := runeColumns(r)
		if n+c > width {
			lines = append(lines, s[start:i])
			start, n = i, 0
		}
		n += c
	}
	return append(lines, s[start:])
}

// age words a duration in at most eight letters, as systemd words them.
func age(d time.Duration) string {
	s := int(max(d, 0) / time.Second)
	switch {
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return fmt.Sprintf("%dmin", s/60)
	case s < 86400:
		return pair(s/3600, "h", s%3600/60, "min")
	}
	return pair(s/86400, "d", s%86400/3600, "h")
}

func pair(a int, unitA string, b int, unitB string) string {
	if b == 0 {
		return fmt.Sprintf("%d%s", a, unitA)
	}
	return fmt.Sprintf("%d%s %d%s", a, unitA, b, unitB)
}

// cpuTime words a time that is often below a second.
func cpuTime(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.2fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return age(d)
}

// size words a number of bytes.
func size(n uint64) string {
	if n == 0 {
		return "-"
	}
	f, unit := float64(n)/1024, 'K'
	for _, u := range "MGT" {
		if f < 1000 {
			break
		}
		f, unit = f/1024, u
	}
	if f < 10 && unit != 'K' {
		return fmt.Sprintf("%.1f%c", f, unit)
	}
	return fmt.Sprintf("%.0f%c", f, unit)
}

// slots words slot numbers, in order, runs as ranges: "1-4, 7".
func slots(list []int) string {
	var parts []string
	for i := 0; i < len(list); {
		j := i
		for j+1 < len(list) && list[j+1] == list[j]+1 {
			j++
		}
		switch j {
		case i:
			parts = append(parts, fmt.Sprint(list[i]))
		case i + 1:
			parts = append(parts, fmt.Sprint(list[i]), fmt.Sprint(list[j]))
		default:
			parts = append(parts, fmt.Sprintf("%d-%d", list[i], list[j]))
		}
		i = j + 1
	}
	return strings.Join(parts, ", ")
}
