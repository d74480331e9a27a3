package proc

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"fugue/internal/launch"
	"fugue/internal/loadtest"
)

func TestListenPIDIsTheWorkersOwn(t *testing.T) { bothWays(t, testListenPIDIsTheWorkersOwn) }

func testListenPIDIsTheWorkersOwn(t *testing.T) {
	for range loadtest.Scale(200) {
		s := spec("/bin/sh", "-c", `echo $$ $LISTEN_PID $WATCHDOG_PID $LISTEN_FDS`)
		s.Plan.ListenPID, s.Plan.WatchdogPID = true, true
		s.Plan.Env = []string{"LISTEN_PID=1", "LISTEN_FDS=2", "LISTEN_PID=2"}
		f := strings.Fields(output(t, s))
		if len(f) != 4 || f[0] != f[1] || f[0] != f[2] || f[3] != "2" {
			t.Fatalf("$$ LISTEN_PID WATCHDOG_PID LISTEN_FDS = %q", f)
		}
	}
}

func TestEnvironmentIsExactlyThePlans(t *testing.T) { bothWays(t, testEnvironmentIsExactlyThePlans) }

func testEnvironmentIsExactlyThePlans(t *testing.T) {
	t.Setenv("LISTEN_PIDFDID", "1")
	s := spec("/usr/bin/env")
	s.Plan.Env = []string{"A=1", "GODEBUG=inittrace=1", "LD_X=y"}
	if d := cmp.Diff("A=1\nGODEBUG=inittrace=1\nLD_X=y\n", output(t, s)); d != "" {
		t.Error(d)
	}
}

// status is what /proc says of a process that fugue started.
func status(t *testing.T, s Spec) map[string]string {
	t.Helper()
	s.Plan.Path, s.Plan.Args = "/bin/cat", []string{"cat", "/proc/self/status"}
	fields := map[string]string{}
	for line := range strings.Lines(output(t, s)) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), ":")
		fields[k] = strings.Join(strings.Fields(v), " ")
	}
	return fields
}

func TestWorkerMeetsDefaultSignals(t *testing.T) { bothWays(t, testWorkerMeetsDefaultSignals) }

func testWorkerMeetsDefaultSignals(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	all, before := fullSet(), unix.Sigset_t{}
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &all, &before)
	defer func() { _ = unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil) }()
	got := status(t, spec(""))
	for _, k := range []string{"SigBlk", "SigIgn", "SigCgt", "SigPnd", "ShdPnd"} {
		if got[k] != "0000000000000000" {
			t.Errorf("%s = %s", k, got[k])
		}
	}
}

func TestPlanTakesEffect(t *testing.T) { bothWays(t, testPlanTakesEffect) }

func testPlanTakesEffect(t *testing.T) {
	dir := t.TempDir()
	nice, oom := 7, 500
	s := spec("")
	s.Plan.Umask = 0o027
	s.Plan.NoNewPrivs = true
	s.Plan.UID, s.Plan.GID, s.Plan.Groups = 65534, 65533, []int{4, 5}
	got := status(t, s)
	want := map[string]string{"Umask": "0027", "NoNewPrivs": "1", "Groups": "4 5",
		"Uid": "65534 65534 65534 65534", "Gid": "65533 65533 65533 65533", "CapEff": "0000000000000000", "CapPrm": "0000000000000000"}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s = %q, want %q", k, got[k], v)
		}
	}

	s = spec("/bin/sh", "-c", `pwd; nice; cat /proc/self/oom_score_adj; ulimit -n; ulimit -Hn; ulimit -c`)
	s.Plan.Dir, s.Plan.Nice, s.Plan.OOMScoreAdj = dir, &nice, &oom
	s.Plan.Env = []string{"PATH=/usr/bin:/bin"}
	s.Plan.Rlimits = []launch.Rlimit{{Resource: unix.RLIMIT_NOFILE, Cur: 100, Max: 200}, {Resource: unix.RLIMIT_CORE}}
	if d := cmp.Diff(dir+"\n7\n500\n100\n200\n0\n", output(t, s)); d != "" {
		t.Error(d)
	}
}

// grouped is a master with groups, whose worker has none of its own.
func grouped() {
	ended := make(chan struct{})
	s := spec("/usr/bin/id", "-G")
	s.Stdout = 1
	s.Plan.UID, s.Plan.GID = 65534, 65534
	if _, err := Start(s, func(error) {}, func() { close(ended) }); err != nil {
		fmt.Println(err)
		return
	}
	<-ended
}

// Root's groups must not stay with a worker that has none of its own.
func TestNoGroupsMeansNone(t *testing.T) { bothWays(t, testNoGroupsMeansNone) }

func testNoGroupsMeansNone(t *testing.T) {
	s := spec(exeName(t))
	s.asMaster("grouped")
	s.Plan.Groups = []int{0, 4}
	if got := output(t, s); got != "65534\n" {
		t.Errorf("id -G = %q", got)
	}
}

func TestFailedStepComesBack(t *testing.T) { bothWays(t, testFailedStepComesBack) }

func testFailedStepComesBack(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join(dir, "plain")
	if err := os.WriteFile(script, []byte("no program"), 0o644); err != nil {
		t.Fatal(err)
	}
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("no program"), 0o755); err != nil {
		t.Fatal(err)
	}
	closed := filepath.Join(dir, "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	absurd := 5000
	tests := []struct {
		name string
		plan func(*launch.Plan)
		step string
		err  unix.Errno
	}{
		{"no such command", func(p *launch.Plan) { p.Path = "/nonexistent/x" }, "execute /nonexistent/x", unix.ENOENT},
		{"not executable", func(p *launch.Plan) { p.Path = script }, "execute " + script, unix.EACCES},
		{"no format", func(p *launch.Plan) { p.Path = text }, "execute " + text, unix.ENOEXEC},
		{"no directory", func(p *launch.Plan) { p.Dir = "/nonexistent" }, "change directory to /nonexistent", unix.ENOENT},
		{"directory of another", func(p *launch.Plan) { p.Dir, p.UID = closed, 65534 }, "change directory to " + closed, unix.EACCES},
		{"limit", func(p *launch.Plan) {
			p.Rlimits = []launch.Rlimit{{Resource: unix.RLIMIT_NOFILE, Cur: 2, Max: 1}}
		}, "set rlimit nofile", unix.EINVAL},
		{"oom", func(p *launch.Plan) { p.OOMScoreAdj = &absurd }, "set oom_score_adj 5000", unix.EINVAL},
		{"groups", func(p *launch.Plan) { p.Groups = make([]int, 70000) }, "set groups", unix.EINVAL},
		{"journal", func(p *launch.Plan) { p.Journal = &launch.Journal{Path: "/nonexistent"} }, "connect to the journal", unix.ENOENT},
		{"NUL in an argument", func(p *launch.Plan) { p.Args = []string{"a\x00b"} }, "read the plan", unix.EINVAL},
		{"argument too long", func(p *launch.Plan) { p.Args = []string{strings.Repeat("x", 1<<20)} }, "execute /bin/true", unix.E2BIG},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := spec("/bin/true")
			test.plan(&s.Plan)
			r := start(t, s)
			err := <-r.launched
			var le *LaunchError
			if !errors.As(err, &le) || le.Step != test.step || le.Errno != test.err {
				t.Fatalf("launched(%v), want %s: %v", err, test.step, test.err)
			}
			if exit := r.wait(); exit != (Exit{Code: 127}) {
				t.Errorf("exit: %s", exit)
			}
		})
	}
}

func TestStartFails(t *testing.T) { bothWays(t, testStartFails) }

func testStartFails(t *testing.T) {
	before := count(t, "/proc/self/fd")
	s := spec("/bin/true")
	s.Files = []int{12345}
	called := func() { t.Error("called back") }
	if _, err := Start(s, func(error) { called() }, called); !errors.Is(err, unix.EBADF) {
		t.Errorf("bad descriptor: %v", err)
	}
	s = spec("/bin/true")
	s.CgroupFD = 0
	if _, err := Start(s, func(error) { called() }, called); err == nil {
		t.Error("standard input is a cgroup")
	}
	if after := count(t, "/proc/self/fd"); after != before {
		t.Errorf("descriptors: %d before, %d after", before, after)
	}
}

// The worker gets its files in order from 3 and nothing else, and the flags of
// a description that others share stay as they are.
func TestFilesArePassedUntouched(t *testing.T) { bothWays(t, testFilesArePassedUntouched) }

func testFilesArePassedUntouched(t *testing.T) {
	var socks []int
	for i := range 4 {
		typ := unix.SOCK_STREAM | unix.SOCK_CLOEXEC
		if i%2 == 0 {
			typ |= unix.SOCK_NONBLOCK
		}
		fd, err := unix.Socket(unix.AF_INET, typ, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		socks = append(socks, fd)
	}
	// A forgotten descriptor without close-on-exec.
	forgotten, err := unix.Open("/dev/null", unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(forgotten)

	s := spec("/bin/sh", "-c", `for f in 0 3 4 5 6; do readlink /proc/$$/fd/$f; done; exec ls /proc/self/fd`)
	s.Plan.Env = []string{"PATH=/usr/bin:/bin"}
	s.Stdin = socks[3]
	s.Files = []int{socks[2], socks[0], socks[1], socks[0]}
	var want string
	for _, fd := range append([]int{socks[3]}, s.Files...) {
		to, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		if err != nil {
			t.Fatal(err)
		}
		want += to + "\n"
	}
	want += "0\n1\n2\n3\n4\n5\n6\n7\n" // and nothing else: 7 is the directory
	for range 5 {
		if d := cmp.Diff(want, output(t, s)); d != "" {
			t.Fatal(d)
		}
	}
	for i, fd := range socks {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		if err != nil || flags&unix.O_NONBLOCK != 0 != (i%2 == 0) {
			t.Errorf("socket %d: O_NONBLOCK changed: %#o, %v", i, flags, err)
		}
		if fl, _ := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); fl&unix.FD_CLOEXEC == 0 {
			t.Errorf("socket %d lost close-on-exec", i)
		}
	}
}
