package proc

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"fugue/internal/launch"
)

// TestMain lets the test binary be a worker: what it does is in FUGUE_TEST.
func TestMain(m *testing.M) {
	if role, ok := os.LookupEnv("FUGUE_TEST"); ok {
		worker(role)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func worker(role string) {
	switch role {
	case "reborn":
		reborn()
	case "ignoring":
		ignoring()
	case "grouped":
		grouped()
	case "lesser":
		lesser()
	case "strangers":
		strangers()
	case "forbidding":
		forbidding()
	case "capable":
		capable()
	case "adopting":
		adopting()
	case "unforked":
		unforked()
	case "closing":
		closing()
	case "last":
		last()
	}
}

// patience bounds waits for events that always come.
const patience = 30 * time.Second

// plan runs a command as we are, with an empty environment.
func plan(argv ...string) launch.Plan {
	return launch.Plan{Path: argv[0], Args: argv, Umask: -1, UID: -1, GID: -1}
}

func spec(argv ...string) Spec {
	return Spec{Plan: plan(argv...), Name: "test/1", Stdin: -1, Stdout: -1, Stderr: -1, CgroupFD: -1,
		long: os.Getenv("FUGUE_TEST_LONG") != ""}
}

// bothWays runs a test for either of bear's ways: here, and by the environment
// in a master that the test starts.
func bothWays(t *testing.T, test func(t *testing.T)) {
	for name, long := range map[string]string{"short": "", "long": "1"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("FUGUE_TEST_LONG", long)
			test(t)
		})
	}
}

// asMaster makes a role a master that starts its workers in this test's way.
func (s *Spec) asMaster(role string) {
	s.Plan.Env = []string{"FUGUE_TEST=" + role, "FUGUE_TEST_LONG=" + os.Getenv("FUGUE_TEST_LONG")}
}

// A run is a child with its callbacks as channels.
type run struct {
	*Child
	t        *testing.T
	launched chan error
	exited   chan struct{}
}

func newRun(t *testing.T) *run {
	return &run{t: t, launched: make(chan error, 1), exited: make(chan struct{})}
}

func start(t *testing.T, s Spec) *run {
	t.Helper()
	r := newRun(t)
	c, err := Start(s, func(err error) { r.launched <- err }, func() { close(r.exited) })
	if err != nil {
		t.Fatal(err)
	}
	r.Child = c
	t.Cleanup(r.end)
	return r
}

func adopt(t *testing.T, pid int) *run {
	t.Helper()
	r := newRun(t)
	c, err := Adopt(pid, 0, -1, func() { close(r.exited) })
	if err != nil {
		t.Fatal(err)
	}
	r.Child = c
	t.Cleanup(r.end)
	return r
}

func (r *run) end() {
	_ = r.KillGroup()
	r.await()
	_, _ = r.Reap()
}

func (r *run) await() {
	r.t.Helper()
	select {
	case <-r.exited:
	case <-time.After(patience):
		r.t.Fatalf("process %d did not exit", r.PID())
	}
}

func (r *run) up() {
	r.t.Helper()
	if err := <-r.launched; err != nil {
		r.t.Fatal(err)
	}
}

func (r *run) wait() Exit {
	r.t.Helper()
	r.await()
	exit, err := r.Reap()
	if err != nil {
		r.t.Fatal(err)
	}
	return exit
}

// output runs a command with its standard output in a pipe and gives all that
// it wrote.
func output(t *testing.T, s Spec) string {
	t.Helper()
	lines, w := pipe(t)
	s.Stdout = w
	r := start(t, s)
	_ = unix.Close(w)
	r.up()
	b, err := io.ReadAll(lines)
	if err != nil {
		t.Fatal(err)
	}
	if exit := r.wait(); !exit.Success() {
		t.Fatalf("%s: %s", s.Plan.Path, exit)
	}
	return string(b)
}

// pipe gives a reader and the raw writing end.
func pipe(t *testing.T) (*bufio.Reader, int) {
	t.Helper()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	_ = unix.SetNonblock(p[0], true)
	f := os.NewFile(uintptr(p[0]), "pipe")
	t.Cleanup(func() { f.Close() })
	return bufio.NewReader(f), p[1]
}

func readLine(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	line, err := r.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(line, "\n")
}

func readInt(t *testing.T, r *bufio.Reader) int {
	t.Helper()
	n, err := strconv.Atoi(readLine(t, r))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func exeName(t *testing.T) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return exe
}

func count(t *testing.T, dir string) int {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func gone(pid int) error {
	st, err := readStat(pid)
	if err != nil || !st.alive() {
		return nil
	}
	return fmt.Errorf("process %d is alive (state %c)", pid, st.state)
}
