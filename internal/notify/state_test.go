package notify

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestLineRefusesASecondLine(t *testing.T) {
	for _, c := range []struct{ key, value, want string }{
		{"STATUS", "4 of 4 ready", "STATUS=4 of 4 ready"},
		{"STATUS", "a=b", "STATUS=a=b"},
		{"STATUS", "", "STATUS="},
		{"STATUS", "x\nMAINPID=1", ""},
		{"STATUS", "x\x00", ""},
		{"STATUS\nMAINPID", "1", ""},
		{"A=B", "1", ""},
		{"", "1", ""},
	} {
		got, err := Line(c.key, c.value)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("Line(%q, %q) = %q, %v; want %q", c.key, c.value, got, err, c.want)
		}
	}
}

func TestReloadingBearsTheMonotonicClock(t *testing.T) {
	clock := func() int64 {
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
			t.Fatal(err)
		}
		return ts.Nano() / 1000
	}
	before := clock()
	f, err := ParseState([]byte(Reloading()))
	after := clock()
	if err != nil || f["RELOADING"] != "1" {
		t.Fatalf("got %v, %v", f, err)
	}
	if usec, err := strconv.ParseInt(f["MONOTONIC_USEC"], 10, 64); err != nil || usec < before || usec > after {
		t.Errorf("MONOTONIC_USEC=%s, want %d to %d", f["MONOTONIC_USEC"], before, after)
	}
}

func TestExtendTimeout(t *testing.T) {
	for d, want := range map[time.Duration]string{
		90 * time.Second: "EXTEND_TIMEOUT_USEC=90000000",
		1:                "EXTEND_TIMEOUT_USEC=1",
		0:                "EXTEND_TIMEOUT_USEC=0",
		-time.Second:     "EXTEND_TIMEOUT_USEC=0",
	} {
		if got := ExtendTimeout(d); got != want {
			t.Errorf("ExtendTimeout(%s) = %s, want %s", d, got, want)
		}
	}
}

func TestParseState(t *testing.T) {
	for _, c := range []struct {
		in   string
		want map[string]string
	}{
		{"READY=1", map[string]string{"READY": "1"}},
		{"READY=1\nSTATUS=up = 3\n", map[string]string{"READY": "1", "STATUS": "up = 3"}},
		{"READY=1\x00", map[string]string{"READY": "1"}},
		{"STATUS=a\nSTATUS=b", map[string]string{"STATUS": "b"}},
		{"hello\n=x\n\nREADY=1", map[string]string{"READY": "1"}},
		{"STATUS=", map[string]string{"STATUS": ""}},
		{"READY=1\r\n", map[string]string{"READY": "1\r"}},
		{"STATUS=\xff", map[string]string{"STATUS": "\xff"}},
		{"", nil},
		{"\n\n", nil},
		{"hello", nil},
		{"=1", nil},
		{"READY=1\x00STATUS=x", nil},
		{"READY=1\x00\x00", nil},
	} {
		got, err := ParseState([]byte(c.in))
		if diff := cmp.Diff(c.want, got); diff != "" || (err == nil) != (c.want != nil) {
			t.Errorf("ParseState(%q): %v\n%s", c.in, err, diff)
		}
	}
}

func FuzzParseState(f *testing.F) {
	for _, s := range []string{"READY=1", "A=1\nB=2\n\x00", "=\n=", "a\x00b", "STATUS=x\nSTATUS=y", "\n\n=\nX"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		fields, err := ParseState(in)
		if (err == nil) != (len(fields) > 0) {
			t.Fatalf("%v with error %v", fields, err)
		}
		// What was read can be said again, by the strict road, and means the same.
		var lines []string
		for _, key := range slices.Sorted(maps.Keys(fields)) {
			line, err := Line(key, fields[key])
			if err != nil {
				t.Fatal(err)
			}
			lines = append(lines, line)
		}
		if again, _ := ParseState([]byte(strings.Join(lines, "\n"))); len(fields) > 0 {
			if diff := cmp.Diff(fields, again); diff != "" {
				t.Fatal(diff)
			}
		}
	})
}

func TestParseStat(t *testing.T) {
	for _, c := range []struct {
		in   string
		want stat
		ok   bool
	}{
		{"12 (sh) S 7 12 3 0 -1", stat{7, 12, 3}, true},
		{"12 (a) R 1 2 3 (x) S 7 12 3 0", stat{7, 12, 3}, true},
		{"12 (a\nb c) S 7 12 3", stat{7, 12, 3}, true},
		{"12 (sh) S 7 12", stat{}, false},
		{"12 (sh) S x 12 3", stat{}, false},
		{"12 (sh) S -7 12 3", stat{}, false},
		{"", stat{}, false},
	} {
		if got, ok := parseStat([]byte(c.in)); got != c.want || ok != c.ok {
			t.Errorf("parseStat(%q) = %v, %v; want %v, %v", c.in, got, ok, c.want, c.ok)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("12 (sh) S 7 12 3 0 -1"))
	f.Add([]byte(") ) S 7"))
	f.Fuzz(func(t *testing.T, in []byte) {
		if s, ok := parseStat(in); ok && (s.parent < 0 || s.group < 0 || s.session < 0) || !ok && s != (stat{}) {
			t.Fatalf("%v, %v", s, ok)
		}
	})
}
