package cli

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode"
)

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"Puma 5.6: größer ✓":  "Puma 5.6: größer ✓",
		"a\nMAINPID=1":        "a MAINPID=1",
		"\x1b[2J\x07\x00":     "?[2J??",
		"\u009b31m":           "?31m",
		"\xff\xfe":            "??",
		"a\u202egnp.exe":      "a?gnp.exe",
		"tab\there\u2028more": "tab here more",
	} {
		if got := printable(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("x\x1b[2J\u009b\xff\U000e0001")
	f.Fuzz(func(t *testing.T, s string) {
		for _, r := range printable(s) {
			if !unicode.IsPrint(r) {
				t.Errorf("%q lets %q through", s, r)
			}
		}
		raw, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		safe := printableJSON(raw)
		var was, is string
		if json.Unmarshal(raw, &was) != nil || json.Unmarshal(safe, &is) != nil || was != is {
			t.Errorf("%s became %s", raw, safe)
		}
		for _, r := range string(safe) {
			if !unicode.IsPrint(r) {
				t.Errorf("%s lets %q through", safe, r)
			}
		}
	})
}

func TestColumns(t *testing.T) {
	for s, want := range map[string]int{"abc": 3, "日本": 4, "e\u0301": 1, "🎉": 2, "é": 1, "…": 1} {
		if got := columns(s); got != want {
			t.Errorf("%q: %d, want %d", s, got, want)
		}
	}
}

func FuzzWidths(f *testing.F) {
	f.Add("a long sentence of several words and onelongwordthatdoesnotfitatall 日本語", 20)
	f.Fuzz(func(t *testing.T, s string, width int) {
		s, width = printable(s), 10+max(width, -width)%100
		if got := columns(truncate(s, width)); got > width {
			t.Errorf("truncate(%q, %d) has %d columns", s, width, got)
		}
		wrapped := wrap(s, width, "  ")
		for line := range strings.Lines(wrapped) {
			if got := columns(strings.TrimRight(line, "\n")); got > width {
				t.Errorf("wrap(%q, %d) has a line of %d columns", s, width, got)
			}
		}
		strip := func(s string) string { return strings.Join(strings.Fields(s), "") }
		if strip(wrapped) != strip(s) {
			t.Errorf("wrap(%q, %d) lost something: %q", s, width, wrapped)
		}
	})
}

func TestAmounts(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 59 * time.Second: "59s", 90 * time.Second: "1min", time.Hour: "1h",
		23*time.Hour + 59*time.Minute: "23h 59min", 24 * time.Hour: "1d", 99*24*time.Hour + 5*time.Hour: "99d 5h",
	} {
		if got := age(d); got != want {
			t.Errorf("age(%v) = %q, want %q", d, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0.00s", 12 * time.Second: "12.0s", time.Minute: "1min", 25 * time.Hour: "1d 1h",
	} {
		if got := cpuTime(d); got != want {
			t.Errorf("cpuTime(%v) = %q, want %q", d, got, want)
		}
	}
	for n, want := range map[uint64]string{
		0: "-", 512 << 10: "512K", 1023 << 10: "1.0M", 12 << 20: "12M", 3 << 29: "1.5G", 5 << 40: "5.0T",
	} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %q, want %q", n, got, want)
		}
	}
	if got := slots([]int{1, 2, 3, 5, 7, 8}); got != "1-3, 5, 7, 8" {
		t.Errorf("slots: %q", got)
	}
}
