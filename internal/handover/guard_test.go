package handover

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// victim is a process that does what it reads, line by line, and says each
// signal that reaches it.
func victim() int {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, unix.SIGHUP, unix.SIGINT, unix.SIGTERM, unix.SIGABRT, unix.SIGUSR1)
	if os.Getenv("QUIT") != "deadly" {
		signal.Notify(signals, unix.SIGQUIT)
	}
	go func() {
		for sig := range signals {
			fmt.Println(unix.SignalName(sig.(unix.Signal)))
		}
	}()
	var g *Guard
	s, err := Create(os.Getenv("STATE"))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("up", os.Getpid())
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		switch word {
		case "guard":
			limit, err := time.ParseDuration(rest)
			if err == nil {
				g, err = startGuard(context.Background(), limit)
			}
			fmt.Println("guarded", g.PID(), err)
		case "release":
			err := g.Release()
			fmt.Println("released", children(os.Getpid()), err)
		case "exec":
			fmt.Println(Exec(rest, nil, nil, s.FD(), nil, g))
		case "run":
			out, err := exec.Command("/bin/sh", "-c", "kill -TERM $$").CombinedOutput()
			fmt.Println("run", string(out), err)
		case "fds":
			runtime.GC()
			fmt.Println("fds", fds(os.Getpid()))
		default:
			fmt.Println(word)
		}
	}
	return 0
}

// A guarded process, and the guard's PID.
type guarded struct {
	*process
	guard int
}

func startVictim(t *testing.T, env ...string) *guarded {
	t.Helper()
	p := startRole(t, "victim", append(env, "STATE="+t.TempDir()+"/state")...)
	if got, want := p.line(t), fmt.Sprint("up ", p.Process.Pid); got != want {
		t.Fatalf("%q, want %q", got, want)
	}
	return &guarded{process: p}
}

func (g *guarded) say(t *testing.T, line, want string) {
	t.Helper()
	if _, err := fmt.Fprintln(g.stdin, line); err != nil {
		t.Fatal(err)
	}
	if got := g.line(t); got != want {
		t.Fatalf("%q, want %q", got, want)
	}
}

func (g *guarded) start(t *testing.T, limit string) {
	t.Helper()
	if _, err := fmt.Fprintln(g.stdin, "guard "+limit); err != nil {
		t.Fatal(err)
	}
	line := g.line(t)
	if _, err := fmt.Sscanf(line, "guarded %d <nil>", &g.guard); err != nil {
		t.Fatal(line)
	}
}

func (g *guarded) send(t *testing.T, signals ...unix.Signal) {
	t.Helper()
	for _, sig := range signals {
		g.signal(t, sig)
	}
}

func (g *guarded) expect(t *testing.T, lines ...string) {
	t.Helper()
	for _, want := range lines {
		if got := g.line(t); got != want {
			t.Fatalf("%q, want %q", got, want)
		}
	}
}

func TestGuardHoldsSignalsBack(t *testing.T) {
	g := startVictim(t)
	g.start(t, "1m")
	g.say(t, "release", "released 0 <nil>") // all that is opened once, as by the poller, is open
	if _, err := fmt.Fprintln(g.stdin, "fds"); err != nil {
		t.Fatal(err)
	}
	before := g.line(t)
	for range 5 {
		g.start(t, "1m")
		for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGHUP, unix.SIGTERM, unix.SIGQUIT, unix.SIGINT} {
			g.send(t, sig)
			g.send(t, unix.SIGUSR1) // is let through
			g.expect(t, "SIGUSR1")
		}
		g.send(t, unix.SIGABRT)
		g.expect(t, "SIGABRT")
		g.say(t, "exec /nonexistent", "exec /nonexistent: no such file or directory")
		g.say(t, "run", "run  signal: terminated") // its children are not guarded
		if _, err := fmt.Fprintln(g.stdin, "release"); err != nil {
			t.Fatal(err)
		}
		// Each once.
		seen := make(map[string]int)
		for range 5 {
			seen[g.line(t)]++
		}
		for _, want := range []string{"SIGTERM", "SIGHUP", "SIGQUIT", "SIGINT", "released 0 <nil>"} {
			if seen[want] != 1 {
				t.Fatal(seen)
			}
		}
		g.send(t, unix.SIGTERM)
		g.expect(t, "SIGTERM")
	}
	g.say(t, "fds", before)
}

// A process that is guarded stops and continues as others do.
func TestGuardedProcessStopsAndContinues(t *testing.T) {
	g := startVictim(t)
	g.start(t, "1m")
	for range 3 {
		g.send(t, unix.SIGSTOP)
		await(t, g.Process.Pid, unix.WSTOPPED)
		g.send(t, unix.SIGTERM) // waits in the kernel
		g.send(t, unix.SIGCONT)
		await(t, g.Process.Pid, unix.WCONTINUED)
		g.say(t, "echo", "echo")
	}
	if _, err := fmt.Fprintln(g.stdin, "release"); err != nil {
		t.Fatal(err)
	}
	// The signal is said by another goroutine than the release.
	said := []string{g.line(t), g.line(t)}
	if slices.Sort(said); !slices.Equal(said, []string{"SIGTERM", "released 0 <nil>"}) {
		t.Error(said)
	}
}

func await(t *testing.T, pid, what int) {
	t.Helper()
	if err := retry(func() error { return unix.Waitid(unix.P_PID, pid, nil, what, nil) }); err != nil {
		t.Fatal(err)
	}
}

// Whoever forgets to release it gets the signals all the same.
func TestGuardEndsByItself(t *testing.T) {
	g := startVictim(t)
	g.start(t, "300ms")
	g.send(t, unix.SIGTERM)
	g.expect(t, "SIGTERM")
	g.say(t, "release", "released 0 <nil>")
	g.say(t, "release", "released 0 <nil>") // twice is nothing
}

// If the guard is killed its master goes on: with what was not yet in the
// guard's hands, here because that was stopped.
func TestKilledGuard(t *testing.T) {
	g := startVictim(t)
	g.start(t, "1m")
	pidfd := openPID(t, g.guard)
	if err := unix.Kill(g.guard, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	g.send(t, unix.SIGTERM, unix.SIGHUP)
	if err := unix.Kill(g.guard, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	seen := g.line(t) + " " + g.line(t)
	if seen != "SIGTERM SIGHUP" && seen != "SIGHUP SIGTERM" {
		t.Error(seen)
	}
	if !exited(pidfd, patience) {
		t.Error("it lives")
	}
	g.say(t, "echo", "echo")
	g.say(t, "release", "released 0 release the guard of signals: it ended: killed by SIGKILL")
}

func TestGuardEndsWithItsMaster(t *testing.T) {
	g := startVictim(t)
	g.start(t, "1m")
	g.send(t, unix.SIGTERM)
	pidfd := openPID(t, g.guard)
	g.send(t, unix.SIGKILL)
	if !exited(pidfd, patience) {
		t.Error("the guard outlives its master")
	}
}

func openPID(t *testing.T, pid int) int {
	t.Helper()
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(pidfd) })
	return pidfd
}

// A signal comes out of the guard's hands as it went in: the runtime's dying
// words give its si_code.
func TestSiginfoIsKept(t *testing.T) {
	for name, test := range map[string]struct {
		send func(t *testing.T, pid, pty int)
		want string
	}{
		"queued": {func(t *testing.T, pid, _ int) {
			si := siginfo{signo: int32(unix.SIGQUIT), code: -42}
			if _, _, errno := unix.Syscall(unix.SYS_RT_SIGQUEUEINFO, uintptr(pid), uintptr(unix.SIGQUIT), uintptr(unsafe.Pointer(&si))); errno != 0 {
				t.Fatal(errno)
			}
		}, fmt.Sprint("sigcode=", uint64(1<<64-42))},
		"killed": {func(t *testing.T, pid, _ int) {
			if err := unix.Kill(pid, unix.SIGQUIT); err != nil {
				t.Fatal(err)
			}
		}, "sigcode=0"},
		"from the terminal": {func(t *testing.T, _, pty int) {
			if _, err := unix.Write(pty, []byte{'\\' & 0x1f}); err != nil { // ^\
				t.Fatal(err)
			}
		}, "sigcode=128"}, // SI_KERNEL
	} {
		t.Run(name, func(t *testing.T) {
			pty, tty := openPTY(t)
			t.Setenv("GOTRACEBACK", "none")
			p := startOn(t, tty, "victim", "QUIT=deadly", "STATE="+t.TempDir()+"/state")
			g := &guarded{process: p}
			g.expect(t, fmt.Sprint("up ", p.Process.Pid))
			g.start(t, "1m")
			test.send(t, p.Process.Pid, pty)
			g.send(t, unix.SIGUSR1)
			g.expect(t, "SIGUSR1")
			g.say(t, "echo", "echo")
			if _, err := fmt.Fprintln(g.stdin, "release"); err != nil {
				t.Fatal(err)
			}
			for range p.lines {
			}
			_ = p.Wait()
			if got := fmt.Sprint(p.Stderr); !strings.Contains(got, test.want+"\n") {
				t.Errorf("want %s:\n%s", test.want, got)
			}
		})
	}
}

// refusedMaster forbids ptrace(2) as a service's SystemCallFilter= does.
func refusedMaster() int {
	const dataNR, allow = 0, 0x7fff0000
	var action uint32 = 0x50000 | uint32(unix.EPERM) // SECCOMP_RET_ERRNO
	if os.Getenv("ACTION") == "kill" {
		action = 0x80000000 // SECCOMP_RET_KILL_PROCESS
	}
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: dataNR},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_PTRACE, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: action},
		{Code: unix.BPF_RET | unix.BPF_K, K: allow},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		fmt.Println(err)
		return 1
	}
	const setFilter, allThreads = 1, 1
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, setFilter, allThreads, uintptr(unsafe.Pointer(&prog))); errno != 0 {
		fmt.Println(errno)
		return 1
	}
	before := fds(os.Getpid())
	g, err := StartGuard(context.Background())
	fmt.Println(g == nil, err)
	fmt.Println(fds(os.Getpid())-before, children(os.Getpid()), g.Release())
	return 0
}

func TestGuardRefused(t *testing.T) {
	for action, want := range map[string]string{
		"errno": "operation not permitted (what may forbid it: a debugger that traces it already, kernel.yama.ptrace_scope=3, a seccomp filter",
		"kill":  "the guard died (of a seccomp filter that kills on ptrace(2)",
	} {
		p := startRole(t, "refused", "ACTION="+action)
		if got := p.line(t); !strings.HasPrefix(got, "true guard signals: ") || !strings.Contains(got, want) {
			t.Errorf("%s: %q", action, got)
		}
		got := p.line(t) // the first use of the poller may open two
		if !strings.HasSuffix(got, " 0 <nil>") || got[0] > '2' {
			t.Errorf("%s: %q", action, got)
		}
	}
}

func TestStartGuardThatIsGivenUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	before := children(os.Getpid())
	if g, err := StartGuard(ctx); g != nil || err == nil || !strings.Contains(err.Error(), "context canceled") {
		t.Error(g, err)
	}
	if n := children(os.Getpid()); n != before {
		t.Errorf("children: %d, then %d", before, n)
	}
}
