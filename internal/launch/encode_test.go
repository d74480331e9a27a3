package launch

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func fullPlan() *Plan {
	nice, oom := -3, -1000
	return &Plan{Path: "/bin/x", Args: []string{"x", "", "ä b"}, Env: []string{"A=", "B=1\n2"}, Dir: "/srv/web",
		ListenPID: true, WatchdogPID: true, Umask: 0o27, Rlimits: []Rlimit{{7, 1, 1<<64 - 1}, {15, 0, 0}},
		Nice: &nice, OOMScoreAdj: &oom, NoNewPrivs: true, Held: true, DeathSignal: 15, UID: 1<<32 - 2, GID: -1, Groups: []int{0, 5},
		Capabilities: &Capabilities{Drop: []Capability{{13, "CAP_NET_RAW"}}, Permitted: 1 << 63, Inheritable: 1 << 10, Ambient: []Capability{{10, "x"}, {0, ""}}},
		Journal:      &Journal{Path: "/s", Identifier: "web/1", Unit: "web.service", Only: 2}, Stdout: "/var/log/a", Stderr: "/var/log/b"}
}

func TestPlanSurvivesTheWay(t *testing.T) {
	for _, p := range []*Plan{fullPlan(), {Args: []string{}, Env: []string{}, Umask: -1, UID: -1, GID: -1},
		{Args: []string{}, Env: []string{}, Groups: []int{}}} {
		got, ok := decode(p.Encode())
		if d := cmp.Diff(p, got); d != "" || !ok {
			t.Errorf("%v: %s", ok, d)
		}
	}
}

func TestBrokenPlanIsRefused(t *testing.T) {
	whole := fullPlan().Encode()
	for n := range whole {
		if _, ok := decode(whole[:n]); ok {
			t.Errorf("the first %d of %d bytes pass", n, len(whole))
		}
	}
	if _, ok := decode(append(whole, 0)); ok {
		t.Error("a byte too many passes")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(fullPlan().Encode())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, ok := decode(b)
		if !ok {
			return
		}
		again, ok := decode(p.Encode())
		if d := cmp.Diff(p, again); d != "" || !ok {
			t.Error(d)
		}
	})
}

func TestParseReport(t *testing.T) {
	tests := []struct {
		b    string
		want Report
	}{
		{"", Report{}},
		{"x", Report{Reached: true}},
		{string(encodeFailure("set groups", 1)), Report{Step: "set groups", Errno: 1}},
		{"x" + string(encodeFailure("execute /x", 0x01020304)), Report{Reached: true, Step: "execute /x", Errno: 0x01020304}},
		{"f\x01", Report{}},
		{"i\x02\x01\x00\x00\x01\x00\x00\x00", Report{Step: "one", Errno: 0x0102}},
		{"xi\x02\x00\x00\x00\x00\x00\x00\x00", Report{Reached: true, Step: "none", Errno: 2}},
		{"i\x02\x00\x00\x00\x02\x00\x00\x00", Report{}},
		{"i\x02\x00\x00\x00\x00", Report{}},
	}
	for _, test := range tests {
		if d := cmp.Diff(test.want, ParseReport([]byte(test.b), []string{"none", "one"})); d != "" {
			t.Errorf("%q: %s", test.b, d)
		}
	}
	if n := len(encodeFailure(string(make([]byte, 100000)), 2)); n > 4096 {
		t.Errorf("a report of %d bytes is not atomic", n)
	}
}

func FuzzParseReport(f *testing.F) {
	f.Add(encodeFailure("step", 2))
	f.Add([]byte("x"))
	f.Fuzz(func(_ *testing.T, b []byte) { ParseReport(b, []string{"step"}) })
}

func TestDescriptors(t *testing.T) {
	for v, want := range map[string][2]int{"3,4": {3, 4}, "10,999999999": {10, 999999999}} {
		if a, b, ok := descriptors(v); !ok || [2]int{a, b} != want {
			t.Errorf("%q: %d, %d, %v", v, a, b, ok)
		}
	}
	for _, v := range []string{"", "3", "3,", ",4", "3,4,", "3,4,5", "a,4", "3,-4", "3 ,4", "1234567890,1", "+3,4"} {
		if _, _, ok := descriptors(v); ok {
			t.Errorf("%q passes", v)
		}
	}
	if got := Environ(12, 13); len(got) != 1 || got[0] != "FUGUE_LAUNCH=12,13" {
		t.Error(got)
	}
}

func TestSetEnv(t *testing.T) {
	got := SetEnv([]string{"A=1", "LISTEN_PID=1", "LISTEN_PIDFDID=3", "LISTEN_PID", "LISTEN_PID=2"}, "LISTEN_PID", "7")
	want := []string{"A=1", "LISTEN_PIDFDID=3", "LISTEN_PID", "LISTEN_PID=7"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestItoa(t *testing.T) {
	for n, want := range map[int]string{0: "0", 7: "7", -1: "-1", 1234567890: "1234567890", -1 << 63: "-9223372036854775808"} {
		if got := itoa(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
	if RlimitName(7) != "nofile" || RlimitName(99) != "99" {
		t.Error("names of limits")
	}
}
