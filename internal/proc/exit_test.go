package proc

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"fugue/internal/launch"
)

func TestExit(t *testing.T) {
	tests := []struct {
		argv []string
		want Exit
		text string
	}{
		{[]string{"/bin/true"}, Exit{}, "exit status 0"},
		{[]string{"/bin/sh", "-c", "exit 42"}, Exit{Code: 42}, "exit status 42"},
		{[]string{"/bin/sh", "-c", "kill -KILL $$"}, Exit{Signal: unix.SIGKILL}, "killed by SIGKILL"},
		{[]string{"/bin/sh", "-c", "kill -TERM $$"}, Exit{Signal: unix.SIGTERM}, "killed by SIGTERM"},
	}
	for _, test := range tests {
		r := start(t, spec(test.argv...))
		r.up()
		if got := r.wait(); got != test.want || got.String() != test.text {
			t.Errorf("%q: %+v, %s", test.argv, got, got)
		}
		if r.PIDFD() != -1 {
			t.Error("pidfd kept")
		}
		again, err := r.Reap()
		if again != test.want || err != nil {
			t.Errorf("again: %v, %v", again, err)
		}
		if err := r.Signal(unix.SIGTERM); err != nil {
			t.Errorf("signal after the end: %v", err)
		}
	}
	if got := (Exit{Unknown: true}).String(); got != "unknown" {
		t.Error(got)
	}
}

func TestCoreFlag(t *testing.T) {
	pattern, err := os.ReadFile("/proc/sys/kernel/core_pattern")
	if err != nil {
		t.Fatal(err)
	}
	s := spec("/bin/sh", "-c", "kill -SEGV $$")
	s.Plan.Dir = t.TempDir()
	s.Plan.Rlimits = []launch.Rlimit{{Resource: unix.RLIMIT_CORE, Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}}
	r := start(t, s)
	r.up()
	want := Exit{Signal: unix.SIGSEGV, Core: true}
	if got := r.wait(); got != want || got.String() != "killed by SIGSEGV (core dumped)" {
		t.Errorf("core_pattern %s: %s", strings.TrimSpace(string(pattern)), got)
	}
}

func TestReapBeforeTheEnd(t *testing.T) {
	r := start(t, spec("/bin/sleep", "1000"))
	r.up()
	if _, err := r.Reap(); err == nil {
		t.Error("a running process was reaped")
	}
	if err := r.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := r.wait(); got != (Exit{Signal: unix.SIGTERM}) {
		t.Error(got)
	}
}
