package proc

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"fugue/internal/launch"
)

func TestListenPIDIsTheWorkersOwn(t *testing.T) {
	for range scaled(t, 200) {
		s := spec("/bin/sh", "-c", `echo $$ $LISTEN_PID $WATCHDOG_PID $LISTEN_FDS`)
		s.Plan.ListenPID, s.Plan.WatchdogPID = true, true
		s.Plan.Env = []string{"LISTEN_PID=1", "LISTEN_FDS=2", "LISTEN_PID=2"}
		f := strings.Fields(output(t, s))
		if len(f) != 4 || f[0] != f[1] || f[0] != f[2] || f[3] != "2" {
			t.Fatalf("$$ LISTEN_PID WATCHDOG_PID LISTEN_FDS = %q", f)
		}
	}
}

func TestEnvironmentIsExactlyThePlans(t *testing.T) {
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

func TestWorkerMeetsDefaultSignals(t *testing.T) {
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

func TestPlanTakesEffect(t *testing.T) {
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
func TestNoGroupsMeansNone(t *testing.T) {
	s := spec(exeName(t))
	s.Plan.Env = []string{"FUGUE_TEST=grouped"}
	s.Plan.Groups = []int{0, 4}
	if got := output(t, s); got != "65534\n" {
		t.Errorf("id -G = %q", got)
	}
}

func TestFailedStepComesBack(t *testing.T) {
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

func TestStartFails(t *testing.T) {
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
func TestFilesArePassedUntouched(t *testing.T) {
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

// A signal that comes while the shim is at work must act: neither the shim's
// runtime nor the blocked mask may swallow it.
func TestSignalBeforeTheExecKills(t *testing.T) {
	for i := range scaled(t, 400) {
		sig := []unix.Signal{unix.SIGTERM, unix.SIGUSR1, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT}[i%5]
		s := spec("/bin/sleep", "1000")
		s.Plan.Dir = t.TempDir()
		r := start(t, s)
		if i%3 != 0 { // at once, or when the shim is somewhere further on
			for range i * 50 {
				runtime.Gosched()
			}
		}
		if err := r.Signal(sig); err != nil {
			t.Fatal(err)
		}
		<-r.launched
		if got := r.wait(); got.Signal != sig {
			t.Fatalf("sent %s: %s", unix.SignalName(sig), got)
		}
	}
}

// hold makes the shim wait in the middle of its work, in a connect to a
// journal that accepts nothing, until release.
func hold(t *testing.T, s *Spec) (held, release func()) {
	t.Helper()
	l, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(l) })
	path := filepath.Join(t.TempDir(), "s")
	if err := unix.Bind(l, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	// A backlog of 0 lets one wait: the second stream cannot connect.
	if err := unix.Listen(l, 0); err != nil {
		t.Fatal(err)
	}
	s.Plan.Journal = &launch.Journal{Path: path, Identifier: "web/3"}
	held = func() { _, _ = unix.Poll([]unix.PollFd{{Fd: int32(l), Events: unix.POLLIN}}, -1) }
	release = func() {
		for range 2 {
			conn, _, err := unix.Accept4(l, unix.SOCK_CLOEXEC)
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { unix.Close(conn) })
		}
	}
	return held, release
}

func TestProcessListName(t *testing.T) {
	s := spec("/bin/true")
	s.Name = "web/3"
	held, release := hold(t, &s)
	r := start(t, s)
	held()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(r.PID()) + "/cmdline")
	if want := "fugue: starting web/3\x00"; err != nil || string(b) != want {
		t.Errorf("%q, %v", b, err)
	}
	release()
	r.up()
}

func TestSignalInTheShimActsAtTheExec(t *testing.T) {
	for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGUSR1, unix.SIGHUP, unix.SIGQUIT, unix.SIGWINCH, unix.SIGURG} {
		s := spec("/bin/true")
		if sig == unix.SIGQUIT {
			s = spec("/bin/sleep", "1000")
		}
		held, release := hold(t, &s)
		r := start(t, s)
		held()
		if err := r.Signal(sig); err != nil {
			t.Fatal(err)
		}
		want := Exit{Signal: sig}
		if !isCaught(sig) || sig == unix.SIGQUIT { // kept until the exec
			release()
		}
		if sig == unix.SIGWINCH || sig == unix.SIGURG { // ignored by default
			want = Exit{}
		}
		if got := r.wait(); got != want {
			t.Errorf("%s: %s", unix.SignalName(sig), got)
		}
	}
}

// Sent by a person and not through Child, which holds it back, a QUIT must not
// be answered by the shim's runtime with goroutines and exit status 2.
func TestQuitFromOutsideInTheShim(t *testing.T) {
	s := spec("/bin/true")
	held, _ := hold(t, &s)
	r := start(t, s)
	held()
	if err := unix.Kill(r.PID(), unix.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	if got := r.wait(); got.Signal != unix.SIGQUIT {
		t.Error(got)
	}
}

// ignoring is a master under nohup.
func ignoring() {
	signal.Ignore(unix.SIGHUP, unix.SIGINT)
	ended := make(chan struct{})
	s := spec("/bin/grep", "SigIgn", "/proc/self/status")
	s.Stdout = 1
	if _, err := Start(s, func(error) {}, func() { close(ended) }); err != nil {
		fmt.Println(err)
		return
	}
	<-ended
}

func TestIgnoredSignalsAreNotInherited(t *testing.T) {
	s := spec(exeName(t))
	s.Plan.Env = []string{"FUGUE_TEST=ignoring"}
	if got := output(t, s); got != "SigIgn:\t0000000000000000\n" {
		t.Error(got)
	}
}

// A shim that dies on its way has not executed anything, and says so.
func TestDeathInTheShimIsNoLaunch(t *testing.T) {
	s := spec("/bin/true")
	held, _ := hold(t, &s)
	r := start(t, s)
	held()
	if err := r.KillGroup(); err != nil {
		t.Fatal(err)
	}
	var le *LaunchError
	if err := <-r.launched; !errors.As(err, &le) || le.Errno != 0 {
		t.Errorf("launched(%v)", err)
	}
	if got := r.wait(); got != (Exit{Signal: unix.SIGKILL}) {
		t.Error(got)
	}
}
