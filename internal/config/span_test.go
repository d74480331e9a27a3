package config

import (
	"math"
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"90": 90 * time.Second, "0": 0, "1.5": 1500 * time.Millisecond, ".5s": 500 * time.Millisecond,
		"500ms": 500 * time.Millisecond, "1min 30s": 90 * time.Second, "1min30s": 90 * time.Second, "2 h": 2 * time.Hour,
		" 5s ": 5 * time.Second, "1d": 24 * time.Hour, "1w": 168 * time.Hour, "1M": 2630016 * time.Second, "1month": 2630016 * time.Second,
		"1m": time.Minute, "1y": 31557600 * time.Second, "3us": 3000, "3µs": 3000, "3μs": 3000, "7ns": 7, "5min 20": 320 * time.Second,
		"infinity": Infinity, "1hours 2minutes 3seconds 4msec": time.Hour + 2*time.Minute + 3*time.Second + 4*time.Millisecond,
	} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("%q: %v %v, not %v", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"":           "nothing given",
		"  ":         "nothing given",
		"s":          `no number before "s"`,
		"-5s":        `no number before "-5s"`,
		"1..5s":      `"1..5" is not a number`,
		"5S":         `unknown unit "S", known are ns us ms s m h d w M y`,
		"300y":       "more than 292 years; for no end say infinity",
		"1e5":        `unknown unit "e", known are ns us ms s m h d w M y`,
		"infinity s": `no number before "infinity s"`,
	} {
		if got, err := ParseDuration(text); err == nil || err.Error() != want {
			t.Errorf("%q: %v %v", text, got, err)
		}
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]uint64{
		"0": 0, "1": 1, "64K": 65536, "64M": 64 << 20, "1.5G": 3 << 29, "1G 500M": 1<<30 + 500<<20, "2T": 2 << 40, "1P": 1 << 50, "1E": 1 << 60,
		"512B": 512, "18446744073709551615": math.MaxUint64, "9007199254740993": 9007199254740993, "infinity": Unlimited, " 1K ": 1024,
	} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("%q: %v %v, not %v", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"": "nothing given", "-1": `no number before "-1"`, "1KB": `unknown unit "KB", known are B K M G T P E`, "16E": "too large",
		"18446744073709551616": "too large",
	} {
		if got, err := ParseSize(text); err == nil || err.Error() != want {
			t.Errorf("%q: %v %v", text, got, err)
		}
	}
}

func TestAmount(t *testing.T) {
	for _, tt := range []struct {
		surge, unavailable Amount
		workers            int
		wantS, wantU       int
	}{
		{Amount{1, false}, Amount{0, false}, 4, 1, 0},
		{Amount{25, true}, Amount{25, true}, 4, 1, 1},
		{Amount{25, true}, Amount{25, true}, 5, 2, 1},
		{Amount{25, true}, Amount{25, true}, 3, 1, 0},
		{Amount{100, true}, Amount{0, false}, 3, 3, 0},
		{Amount{0, true}, Amount{10, true}, 4, 0, 1}, // both nothing: Kubernetes takes one away
		{Amount{0, false}, Amount{7, false}, 4, 0, 4},
		{Amount{1, false}, Amount{0, false}, 0, 1, 0},
	} {
		r := Reload{MaxSurge: tt.surge, MaxUnavailable: tt.unavailable}
		if s, u := r.Surge(tt.workers), r.Unavailable(tt.workers); s != tt.wantS || u != tt.wantU {
			t.Errorf("%v %v of %d: %d %d, not %d %d", tt.surge, tt.unavailable, tt.workers, s, u, tt.wantS, tt.wantU)
		}
	}
}

func TestSignals(t *testing.T) {
	for v, want := range map[any]int{"TERM": 15, "SIGQUIT": 3, "usr1": 10, "RTMIN+3": 37, "SIGRTMAX-1": 63, "RTMIN": 34, int64(9): 9} {
		if got, err := readSignal(v); err != nil || got != want {
			t.Errorf("%v: %d %v", v, got, err)
		}
	}
	for _, v := range []any{"", "SIG", "RTMIN+31", "RTMAX+1", "RTMINx", int64(0), int64(65), true} {
		if got, err := readSignal(v); err == nil {
			t.Errorf("%v: %d", v, got)
		}
	}
}

func FuzzParseDuration(f *testing.F) {
	for _, s := range []string{"90", "1min 30s", "1.5h", "infinity", "9e9", "99999999999999999999y", "1µs"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDuration(s)
		if d < 0 || err != nil && (d != 0 || err.Error() == "") {
			t.Fatalf("%q: %v %v", s, d, err)
		}
		if err == nil && d != Infinity && d < 1<<52 {
			// What Go writes in nanoseconds, this reads back.
			again, err := ParseDuration(d.String())
			if err != nil && d != 0 || again-d > 1 || d-again > 1 {
				t.Fatalf("%q: %v and %v %v", s, d, again, err)
			}
		}
	})
}

func FuzzParseSize(f *testing.F) {
	for _, s := range []string{"1", "64K", "1.5G", "infinity", "16E", "1G 1G"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := ParseSize(s); err != nil && n != 0 {
			t.Fatalf("%q: %v %v", s, n, err)
		}
	})
}
