package elf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"fugue/internal/launch"
)

// patience bounds waits for events that always come.
const patience = time.Minute

// emulator runs what is not of this machine. Where one is missing this fails:
// see .ci/run for the packages.
func emulator(machine string) []string {
	if machine == runtime.GOARCH {
		return nil
	}
	return []string{map[string]string{"amd64": "qemu-x86_64", "arm64": "qemu-aarch64"}[machine]}
}

// carryOut runs an image as a process that ignores and blocks signals, and gives its output, the report and the
// exit status.
func carryOut(t *testing.T, machine string, p *launch.Plan, env ...string) (out string, report launch.Report, code int) {
	t.Helper()
	image, err := machines()[machine].Make(p, 3, 4)
	if err != nil {
		t.Fatal(err)
	}
	return execute(t, machine, image, env)
}

func execute(t *testing.T, machine string, image Image, env []string) (out string, report launch.Report, code int) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, file(image), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	argv := append(emulator(machine), path)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env, cmd.ExtraFiles = env, []*os.File{f, w}
	text, err := deaf(cmd.Output)
	_ = w.Close()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text), launch.ParseReport(b, image.Steps), cmd.ProcessState.ExitCode()
}

// deaf calls f, so that a process which it starts is born deaf to signals.
func deaf(f func() ([]byte, error)) ([]byte, error) {
	signal.Ignore(syscall.SIGHUP, syscall.SIGWINCH) // an emulator undoes the first by itself
	defer signal.Reset(syscall.SIGHUP, syscall.SIGWINCH)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	usr1, before := unix.Sigset_t{Val: [16]uint64{1 << (unix.SIGUSR1 - 1)}}, unix.Sigset_t{}
	_ = unix.PthreadSigmask(unix.SIG_BLOCK, &usr1, &before)
	defer func() { _ = unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil) }()
	return f()
}

func onAll(t *testing.T, test func(t *testing.T, machine string)) {
	for machine := range machines() {
		t.Run(machine, func(t *testing.T) { test(t, machine) })
	}
}

const (
	chown = 0
	bind  = 10 // CAP_NET_BIND_SERVICE
)

// every capability that the kernel has, but for some.
func every(but ...int) (list []launch.Capability) {
	for n := range 41 {
		if _, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(n), 0, 0, 0); err == nil && !slices.Contains(but, n) {
			list = append(list, launch.Capability{Number: n, Name: "x"})
		}
	}
	return list
}

// Every step, on either architecture.
func TestWholePlan(t *testing.T) {
	onAll(t, func(t *testing.T, machine string) {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "journal"), Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		nice, oom := 7, 500
		script := `echo pid $(($$ == LISTEN_PID)) $(($$ == WATCHDOG_PID)); echo $1 $A; pwd; umask; nice
cat /proc/self/oom_score_adj; ulimit -n; ulimit -Hn; id -u; id -g; id -G
grep -e NoNewPrivs -e '^Cap' /proc/self/status; ls /proc/self/fd; cat /proc/$$/comm
[ "$JOURNAL_STREAM" = $(stat -L -c %d:%i /proc/self/fd/2) ] && echo same; echo err >&2`
		_, report, code := carryOut(t, machine, &launch.Plan{
			Path: "/bin/sh", Args: []string{"sh", "-c", script, "sh", "one"}, Env: []string{"LISTEN_PID=1", "A=ä b", "PATH=/usr/bin:/bin"},
			Dir: "/usr", ListenPID: true, WatchdogPID: true, Umask: 0o27, Rlimits: []launch.Rlimit{{Resource: 7, Cur: 100, Max: 200}},
			Nice: &nice, OOMScoreAdj: &oom, NoNewPrivs: true, UID: 65534, GID: 65533, Groups: []int{4, 5},
			Capabilities: &launch.Capabilities{Drop: every(bind, chown), Permitted: 1<<bind | 1<<chown, Inheritable: 1<<bind | 1<<chown,
				Ambient: []launch.Capability{{Number: bind, Name: "x"}}},
			Journal: &launch.Journal{Path: l.Addr().String(), Identifier: "web/3", Unit: "web.service"},
		}, "LEFT=over")
		if report != (launch.Report{Reached: true}) || code != 0 {
			t.Errorf("%+v, exit status %d", report, code)
		}
		_ = l.SetDeadline(time.Now().Add(patience))
		var texts [2]string
		for i := range texts { // both have ended, and wait
			conn, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(conn)
			if err != nil {
				t.Fatal(err)
			}
			texts[i] = string(b)
			_ = conn.Close()
		}
		want := [2]string{
			"web/3\nweb.service\n6\n1\n0\n0\n0\npid 1 1\none ä b\n/usr\n0027\n7\n500\n100\n200\n65534\n65533\n65533 4 5\n" +
				"CapInh:\t0000000000000401\nCapPrm:\t0000000000000400\nCapEff:\t0000000000000400\nCapBnd:\t0000000000000401\nCapAmb:\t0000000000000400\n" +
				"NoNewPrivs:\t1\n0\n1\n2\n3\nsh\nsame\n",
			"web/3\nweb.service\n4\n1\n0\n0\n0\nerr\n",
		}
		if d := cmp.Diff(want, texts); d != "" {
			t.Error(d)
		}
	})
}

// Not by a shell, which has a mind of its own about signals.
func TestSignalsAreDefault(t *testing.T) {
	onAll(t, func(t *testing.T, machine string) {
		out, _, _ := carryOut(t, machine, &launch.Plan{
			Path: "/bin/grep", Args: []string{"grep", "-e", "SigBlk", "-e", "SigIgn", "/proc/self/status"}, Umask: -1, UID: -1, GID: -1,
		})
		if machine != runtime.GOARCH { // 32 and 33 are the emulator's C library's
			out = strings.ReplaceAll(strings.ReplaceAll(out, "0000000180000000", "0000000000000000"), "0000000080000000", "0000000000000000")
		}
		if d := cmp.Diff("SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n", out); d != "" {
			t.Error(d)
		}
	})
}

// Before Linux 5.11 close_range cannot mark descriptors: then the two that are
// the shim's own are marked one by one.
func TestOldKernel(t *testing.T) {
	onAll(t, func(t *testing.T, machine string) {
		image, err := machines()[machine].Make(&launch.Plan{
			Path: "/bin/sh", Args: []string{"sh", "-c", "[ -e /proc/$$/fd/3 ] || [ -e /proc/$$/fd/4 ] || echo closed"}, Umask: -1, UID: -1, GID: -1,
		}, 3, 4)
		if err != nil {
			t.Fatal(err)
		}
		number := binary.LittleEndian.AppendUint64(nil, mayFail<<32|closeRange)
		at := bytes.Index(image.Data, number)
		if at < 0 || bytes.Count(image.Data, number) != 1 {
			t.Fatal("no close_range on the tape")
		}
		image.Data[at+1] = 0xff // no such call
		out, report, _ := execute(t, machine, image, nil)
		if d := cmp.Diff("closed\n", out); d != "" || report != (launch.Report{Reached: true}) {
			t.Errorf("%+v: %s", report, d)
		}
	})
}

func TestFailedStep(t *testing.T) {
	onAll(t, func(t *testing.T, machine string) {
		p := &launch.Plan{Path: "/bin/true", Args: []string{"x"}, Dir: "/nonexistent", Umask: 0, UID: -1, GID: -1}
		_, report, code := carryOut(t, machine, p)
		if d := cmp.Diff(launch.Report{Step: "change directory to /nonexistent", Errno: 2}, report); d != "" || code != 127 {
			t.Errorf("exit status %d: %s", code, d)
		}
		p.Dir, p.Path = "", "/nonexistent/x"
		_, report, code = carryOut(t, machine, p)
		if d := cmp.Diff(launch.Report{Reached: true, Step: "execute /nonexistent/x", Errno: 2}, report); d != "" || code != 127 {
			t.Errorf("exit status %d: %s", code, d)
		}
	})
}

// A log file is opened and judged in the same way on either architecture.
func TestLogFile(t *testing.T) {
	onAll(t, func(t *testing.T, machine string) {
		dir := t.TempDir()
		out, errs, pipe := filepath.Join(dir, "out"), filepath.Join(dir, "err"), filepath.Join(dir, "pipe")
		if err := errors.Join(os.WriteFile(out, []byte("old\n"), 0o666), unix.Mkfifo(pipe, 0o666)); err != nil {
			t.Fatal(err)
		}
		p := &launch.Plan{Path: "/bin/sh", Args: []string{"sh", "-c", "echo out; echo err >&2; grep flags /proc/self/fdinfo/1 >&2"},
			Env: []string{"PATH=/usr/bin:/bin"}, Umask: 0o027, UID: -1, GID: -1, Stdout: out, Stderr: errs}
		if _, report, code := carryOut(t, machine, p); report != (launch.Report{Reached: true}) || code != 0 {
			t.Errorf("%+v, exit status %d", report, code)
		}
		for path, want := range map[string]string{out: "old\nout\n", errs: "err\n"} {
			b, err := os.ReadFile(path)
			if got, _, _ := strings.Cut(string(b), "flags"); err != nil || got != want {
				t.Errorf("%s: %q, %v", path, b, err)
			}
		}
		p.Stderr = pipe
		reader, err := unix.Open(pipe, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(reader)
		_, report, code := carryOut(t, machine, p)
		want := launch.Report{Step: "use " + pipe + " for standard error, which has to be a regular file", Errno: syscall.ESPIPE}
		if d := cmp.Diff(want, report); d != "" || code != 127 {
			t.Errorf("exit status %d: %s", code, d)
		}
	})
}

// A number of any size is written whole, and the next one behind it.
func TestDecimal(t *testing.T) {
	numbers := []uint64{0, 7, 10, 99, 4294967296, 10000000000000000000, 1<<64 - 1}
	onAll(t, func(t *testing.T, machine string) {
		m := machines()[machine]
		b := m.build(4)
		to := b.string("", 200)
		var want strings.Builder
		for i, n := range numbers {
			at := address(0)
			if i == 0 {
				at = to
			}
			b.decimal(b.words(n), at, ',')
			fmt.Fprintf(&want, "%d,", n)
		}
		b.call("write", b.write, 1, uint64(to), uint64(want.Len()))
		b.call("end", ^uint32(0)-1) // no such call
		image, err := b.image()
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "image")
		if err := os.WriteFile(path, file(image), 0o755); err != nil {
			t.Fatal(err)
		}
		argv := append(emulator(machine), path)
		cmd := exec.Command(argv[0], argv[1:]...)
		got, err := cmd.Output() // 127: the call that there is not
		if cmd.ProcessState == nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want.String(), string(got)); d != "" || cmd.ProcessState.ExitCode() != 127 {
			t.Error(cmd.ProcessState, d)
		}
	})
}

// What cannot be written down is refused, not cut off.
func TestUnwritable(t *testing.T) {
	for name, p := range map[string]*launch.Plan{
		"path":        {Path: "/bin/x\x00y"},
		"argument":    {Path: "/bin/x", Args: []string{"a\x00b"}},
		"environment": {Path: "/bin/x", Env: []string{"A=a\x00b"}},
		"directory":   {Path: "/bin/x", Dir: "/\x00"},
		"long socket": {Path: "/bin/x", Journal: &launch.Journal{Path: "/" + strings.Repeat("x", 107)}},
	} {
		if _, err := AMD64().Make(p, 3, 4); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
