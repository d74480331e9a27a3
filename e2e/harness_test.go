package e2e_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"fugue/e2e"
	"fugue/internal/loadtest"
	"fugue/internal/testworker"
)

func TestMain(m *testing.M) { os.Exit(e2e.Main(m)) }

var bare = e2e.WithoutFugue()

const webSocket = "[Socket]\nListenStream=127.0.0.1:8080\nListenStream=/t/web.sock\nFileDescriptorName=http\nTriggerLimitIntervalSec=0\n"

// web is a unit whose only process is a testworker.
func web(args string) string {
	return "[Unit]\nRequires=web.socket\nAfter=web.socket\nStartLimitIntervalSec=0\n" +
		"[Service]\nType=notify\nExecStart=/usr/bin/testworker " + args + "\n"
}

func TestBoot(t *testing.T) {
	want := map[string]int{"host": 252, "trixie": 257}
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		version := sb.SystemdVersion()
		t.Logf("systemd %d", version)
		name := t.Name()[strings.LastIndex(t.Name(), "/")+1:]
		if name == "trixie" && version != want[name] {
			t.Errorf("systemd %d, want %d", version, want[name])
		}
		if state := sb.Do("systemctl", "is-system-running"); state != "running" {
			t.Errorf("system is %s:\n%s", state, sb.Do("systemctl", "--failed"))
		}
		if comm := strings.TrimSpace(sb.ReadFile("/proc/1/comm")); comm != "systemd" {
			t.Errorf("PID 1 is %q", comm)
		}
		if links := sb.Do("ls", "/sys/class/net"); links != "lo" {
			t.Errorf("network links: %s", links)
		}
		// Units are only those of the boot.
		if units := sb.Do("systemctl", "list-units", "--type=service", "--all", "--plain", "--no-legend"); strings.Count(units, ".service") > 3 {
			t.Errorf("services:\n%s", units)
		}
	}, bare)
}

func TestServiceUnderSocket(t *testing.T) {
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		sb.Unit("web.socket", webSocket)
		sb.Unit("web.service", web("-version v1 -config /t/worker"))
		sb.File("/t/worker", "# v1\n")
		sb.Do("systemctl", "start", "web.socket")
		if state := sb.Show("web", "ActiveState"); state != "inactive" {
			t.Errorf("web is %s before a request", state)
		}
		if a := sb.Get("http://127.0.0.1:8080/"); a.Version != "v1" || a.Status != 200 {
			t.Errorf("%+v", a)
		}
		sb.WaitState("web", "running")
		first := sb.MainPID("web")

		load := sb.Load(loadtest.Config{Address: "127.0.0.1:8080", KeepAlive: 3})
		unixLoad := sb.Load(loadtest.Config{Network: "unix", Address: "/t/web.sock", Rate: 50})
		for i := range loadtest.Scale(50) {
			version := fmt.Sprintf("v%d", i+2)
			sb.File("/t/worker", "version="+version)
			if r := sb.Systemctl("restart", "web"); r.Code != 0 {
				t.Fatal(r)
			}
			load.AwaitVersion(version)
			unixLoad.AwaitVersion(version)
		}
		load.StopWithoutLoss()
		unixLoad.StopWithoutLoss()

		if second := sb.MainPID("web"); second.PID == first.PID || second.Outside == second.PID || !strings.Contains(second.Command, "testworker") {
			t.Errorf("main process %+v after the restarts, %+v before", second, first)
		}
		var env testworker.Environment
		if err := json.Unmarshal([]byte(sb.Get("http://127.0.0.1:8080/env").Body), &env); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(env.Env, "\n"); !strings.Contains(got, "LISTEN_FDNAMES=http:http") {
			t.Errorf("environment:\n%s", got)
		}
		sb.Do("systemctl", "stop", "web.socket", "web.service")
		if left := sb.Processes("web"); len(left) != 0 {
			t.Errorf("left after the stop: %+v", left)
		}
		if _, err := sb.Dial("tcp", "127.0.0.1:8080"); err == nil {
			t.Error("still connects")
		}
	}, bare)
}

// The load must see what a worker does that does not drain.
func TestLoadSeesLoss(t *testing.T) {
	sb := e2e.Boot(t, e2e.Roots()[0], bare)
	sb.Unit("web.socket", webSocket)
	sb.Unit("web.service", web("-drain none -delay 500ms")) // so that always some are in flight
	sb.Do("systemctl", "start", "web.socket", "web.service")
	load := sb.Load(loadtest.Config{Address: "127.0.0.1:8080"})
	sb.Do("systemctl", "restart", "web")
	load.AwaitMore(300)
	sb.Do("systemctl", "stop", "web.socket", "web.service")
	// First come those that were in flight.
	if err := load.Await(t.Context(), func(r *loadtest.Report) bool { return r.New.Refused > 0 }); err != nil {
		t.Error(err)
	}
	r := load.Stop()
	t.Log(r)
	if r.New.EOF+r.New.Reset == 0 || r.New.Refused == 0 || r.New.Local > 0 || r.Check() == nil {
		t.Errorf("loss not seen: %v", r)
	}
}

func TestJournal(t *testing.T) {
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		sb.Unit("web.socket", webSocket)
		sb.Unit("web.service", web("-stderr to-err -stdout to-out"))
		sb.Do("systemctl", "start", "web.service")
		main := sb.MainPID("web")
		sb.Get("http://127.0.0.1:8080/print?stderr=later")
		e := sb.WaitMessage("later", "-u", "web")
		if e["_PID"] != strconv.Itoa(main.PID) || e["_SYSTEMD_UNIT"] != "web.service" {
			t.Errorf("entry %v, want _PID %d", e, main.PID)
		}
		text := sb.Journal("-u", "web", "-o", "cat")
		for _, want := range []string{"to-err", "to-out", "later"} {
			if !strings.Contains(text, want) {
				t.Errorf("journal lacks %q:\n%s", want, text)
			}
		}
		if entries := sb.JournalEntries("-u", "web", "_PID="+strconv.Itoa(main.PID)); len(entries) < 3 {
			t.Errorf("%d entries of the main process: %v", len(entries), entries)
		}
		// Workers open streams of their own.
		sb.Do("sh", "-c", "echo hello | systemd-cat -t mine -p warning")
		if e := sb.WaitMessage("hello", "-t", "mine"); e["PRIORITY"] != "4" {
			t.Errorf("entry %v", e)
		}
		// systemd's own words about the unit, from before and after.
		sb.WaitMessage("Started ", "UNIT=web.service")
	}, bare)
}

func TestReloadAndReexecOfSystemd(t *testing.T) {
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		sb.Unit("web.socket", webSocket)
		sb.Unit("web.service", web(""))
		sb.Do("systemctl", "start", "web.service")
		main := sb.MainPID("web")
		sb.Unit("web.service", web("")+"FileDescriptorStoreMax=7\n")
		if n := sb.ShowInt("web", "FileDescriptorStoreMax"); n != 7 {
			t.Errorf("FileDescriptorStoreMax is %d after the change of the unit", n)
		}
		for range 3 {
			sb.DaemonReexec()
			sb.DaemonReload()
		}
		if now := sb.MainPID("web"); now != main {
			t.Errorf("main process %+v, before %+v", now, main)
		}
		if n := sb.ShowInt("web", "NFileDescriptorStore"); n != 0 {
			t.Errorf("%d descriptors stored", n)
		}
	}, bare)
}

func TestWaiting(t *testing.T) {
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		sb.Unit("web.socket", webSocket)
		sb.Unit("web.service", web("-start-delay 300ms")+"Restart=always\nRestartSec=50ms\n")
		sb.Do("systemctl", "start", "--no-block", "web.service")
		sb.WaitState("web", "running")
		main := sb.MainPID("web")
		sb.Kill(main)
		sb.WaitShow("web", "NRestarts", "1")
		sb.WaitState("web", "running")
		sb.WaitGone(main)
		// A state that comes while systemd replaces itself.
		sb.Do("systemctl", "stop", "web.service")
		sb.Do("systemctl", "start", "--no-block", "web.service")
		sb.Do("systemctl", "daemon-reexec")
		sb.WaitState("web", "running")
		sb.Unit("hang.service", "[Service]\nType=notify\nExecStart=/usr/bin/testworker -hang\n")
		sb.Do("systemctl", "start", "--no-block", "hang")
		sb.WaitState("hang", "activating")
		sb.WaitState("hang", "start")
		sb.Unit("bad.service", "[Service]\nExecStart=/usr/bin/testworker -exit 3\n")
		sb.Do("systemctl", "start", "bad")
		sb.WaitState("bad", "failed")
		if code := sb.Show("bad", "ExecMainStatus"); code != "3" {
			t.Errorf("exit status %s", code)
		}
	}, bare)
}

func TestDBus(t *testing.T) {
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		sb.Unit("web.socket", webSocket)
		sb.Unit("web.service", web("")+"User=nobody\n")
		sb.Do("systemctl", "start", "web.service")
		out := sb.Do("setpriv", "--reuid=65534", "--clear-groups", "busctl", "call", "--system",
			"org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager",
			"ListUnitsByNames", "as", "1", "web.service")
		if !strings.Contains(out, `"web.service"`) || !strings.Contains(out, `"running"`) {
			t.Errorf("answer as nobody: %s", out)
		}
	}, bare, e2e.WithDBus())
}

func TestExitOfTheManager(t *testing.T) {
	sb := e2e.Boot(t, e2e.Roots()[0], bare)
	fd, err := unix.PidfdOpen(sb.PID(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	sb.Systemctl("exit", "3") // its own connection may break
	awaitEnd(t, fd)
}

// TestTwoSideBySide: what one does, the other does not see.
func TestTwoSideBySide(t *testing.T) {
	a, b := e2e.Boot(t, e2e.Roots()[0], bare), e2e.Boot(t, e2e.Roots()[0], bare)
	for version, sb := range map[string]*e2e.Sandbox{"a": a, "b": b} {
		sb.Unit("web.socket", webSocket)
		sb.Unit("web.service", web("-version "+version))
		sb.Do("systemctl", "start", "web.service")
		sb.File("/run/mark", version)
		sb.File("/usr/bin/mark", version)
	}
	for version, sb := range map[string]*e2e.Sandbox{"a": a, "b": b} {
		if got := sb.Get("http://127.0.0.1:8080/").Version; got != version {
			t.Errorf("%s answers in %s", got, version)
		}
		if got := sb.ReadFile("/run/mark") + sb.ReadFile("/usr/bin/mark"); got != version+version {
			t.Errorf("%s is written in %s", got, version)
		}
		if n := len(sb.Processes("web")); n != 1 {
			t.Errorf("%d processes of web in %s", n, version)
		}
	}
	a.Do("systemctl", "stop", "web.socket", "web.service")
	if got := b.Get("http://127.0.0.1:8080/").Version; got != "b" {
		t.Errorf("%s answers in b", got)
	}
	if _, err := os.Stat("/usr/bin/mark"); err == nil {
		t.Error("a sandbox wrote to the machine")
	}
}

func TestInstallReplacesARunningBinary(t *testing.T) {
	sb := e2e.Boot(t, e2e.Roots()[0], bare)
	sb.Unit("web.socket", webSocket)
	sb.Unit("web.service", web(""))
	sb.Do("systemctl", "start", "web.service")
	sb.Install(e2e.Testworker(t), "/usr/bin/testworker")
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", sb.MainPID("web").Outside))
	if err != nil || !strings.HasSuffix(exe, "testworker (deleted)") {
		t.Errorf("the running binary is %s, %v", exe, err)
	}
	sb.Do("systemctl", "restart", "web")
}

// footprint is all of a sandbox that could be left on the machine.
type footprint struct {
	PID         int
	Cgroup, Dir string
}

func (f footprint) check(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("/proc/" + strconv.Itoa(f.PID)); err == nil {
		t.Errorf("process %d is left", f.PID)
	}
	for _, path := range []string{f.Cgroup, f.Dir} {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s is left", path)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), f.Dir) {
		t.Errorf("mounts of %s are left:\n%s", f.Dir, mounts)
	}
}

func TestTeardownLeavesNothing(t *testing.T) {
	e2e.Testworker(t) // built here, it need not be by each victim
	for _, how := range []string{"passes", "fails", "panics", "is killed", "forks away"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			f, end := victim(t, how)
			end()
			f.check(t)
		})
	}
}

const victimEnv = "FUGUE_E2E_VICTIM"

// victim runs TestVictim in a test process of its own up to the point where its
// sandbox is busy. end lets it go on, and returns when its keeper is gone, which
// holds the other end of the pipe.
func victim(t *testing.T, how string) (footprint, func()) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^TestVictim$", "-test.v")
	cmd.Env = append(os.Environ(), victimEnv+"="+how)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	out := bufio.NewReader(stdout)
	var f footprint
	for {
		line, err := out.ReadString('\n')
		if err != nil {
			e2e.Need(t, errors.New("no sandbox can be made here"))
		}
		if text, ok := strings.CutPrefix(line, "footprint "); ok {
			if err := json.Unmarshal([]byte(text), &f); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	keeper, err := unix.PidfdOpen(parentOf(t, f.PID), 0)
	if err != nil {
		t.Fatal(err)
	}
	return f, func() {
		if how == "is killed" {
			_ = cmd.Process.Kill()
		}
		stdin.Close()
		_, _ = io.Copy(io.Discard, out)
		awaitEnd(t, keeper)
		unix.Close(keeper)
	}
}

func awaitEnd(t *testing.T, pidfd int) {
	t.Helper()
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, 30_000)
		if errors.Is(err, unix.EINTR) { // Go's own signals to its threads
			continue
		}
		if n != 1 || err != nil {
			t.Fatalf("a process does not end: %d, %v", n, err)
		}
		return
	}
}

func parentOf(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "PPid:")
	ppid, err := strconv.Atoi(strings.Fields(after)[0])
	if err != nil {
		t.Fatal(err)
	}
	return ppid
}

// TestVictim is no test of its own; see victim.
func TestVictim(t *testing.T) {
	how := os.Getenv(victimEnv)
	if how == "" {
		return
	}
	sb := e2e.Boot(t, e2e.Roots()[0], bare)
	sb.Unit("web.socket", webSocket)
	sb.Unit("web.service", web("-ignore-term -children 2 -setsid"))
	sb.Do("systemctl", "start", "web.service")
	if how == "forks away" {
		sb.Do("sh", "-c", "setsid -f sleep 1000 >/dev/null 2>&1")
	}
	text, err := json.Marshal(footprint{PID: sb.PID(), Cgroup: sb.Cgroup(), Dir: sb.Dir()})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("footprint %s\n", text)
	_, _ = io.Copy(io.Discard, os.Stdin)
	switch how {
	case "fails":
		t.Fatal("as told")
	case "panics":
		panic("as told")
	}
}

// BenchmarkBoot is from nothing to a systemd that has booted, and to nothing again.
func BenchmarkBoot(b *testing.B) {
	for _, root := range e2e.Roots() {
		b.Run(root.Name, func(b *testing.B) {
			e2e.Testworker(b)
			for b.Loop() {
				e2e.Boot(b, root, bare).End()
			}
		})
	}
}
