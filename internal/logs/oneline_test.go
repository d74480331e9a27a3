package logs

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestOneLine(t *testing.T) {
	long := strings.Repeat("ä", 200)
	tests := []struct{ in, want string }{
		{"", ""},
		{"plain", "plain"},
		{"  two\r\n\tlines \n", "two lines"},
		{"x\nMAINPID=1", "x MAINPID=1"},
		{"\x1b[31mred\x1b[0m text", "red text"},
		{"\x1b]0;title\x07after", "after"},
		{"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"},
		{"\x1b]open\nnext", "next"},
		{"\x1bPq\x1b\\sixel", "sixel"},
		{"\x1bc reset", "reset"},
		{"\x1b", ""},
		{"\x1b\x1b[1mbold", "bold"},
		{"\x1b[12\x01x", "\ufffdx"},
		{"bell\x07 del\x7f c1\u009b31m", "bell\ufffd del\ufffd c1\ufffd31m"},
		{"bad\xff\xfeutf8", "bad\ufffd\ufffdutf8"},
		{"right\u202eto left, zero\u200bwidth", "right\ufffdto left, zero\ufffdwidth"},
		{"para\u2029graph\u0085next", "para graph next"},
		{"日本語", "日本語"},
		{strings.Repeat("x", 256), strings.Repeat("x", 256)},
		{strings.Repeat("x", 257), strings.Repeat("x", 253) + "…"},
		{long, long[:252] + "…"},
	}
	for _, test := range tests {
		if got := OneLine(test.in); got != test.want {
			t.Errorf("%q: %q, want %q", test.in, got, test.want)
		}
	}
}

func FuzzOneLine(f *testing.F) {
	f.Add("x\nMAINPID=1\x1b[2J")
	f.Add(strings.Repeat("\u202e", 300))
	f.Fuzz(func(t *testing.T, s string) {
		got := OneLine(s)
		if len(got) > maxLine || !utf8.ValidString(got) || strings.TrimSpace(got) != got {
			t.Errorf("%q: %q", s, got)
		}
		for _, r := range got {
			if !unicode.IsPrint(r) && r != utf8.RuneError {
				t.Errorf("%q: %q has %q", s, got, r)
			}
		}
		if again := OneLine(got); again != got {
			t.Errorf("%q is not stable: %q", got, again)
		}
	})
}
