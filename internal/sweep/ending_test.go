package sweep

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"fugue/internal/proc"
)

// guard bounds each ending: far above what any needs.
const guard = 30 * time.Second

func quiet() *logrus.Logger {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return log
}

// shell starts a script that leads a group, and returns when it says "up".
// Then its output goes on at out.
func shell(t *testing.T, script string) (pid int, out *bufio.Reader) {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil { // who ends it reaps it
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	out = bufio.NewReader(pipe)
	if line, err := out.ReadString('\n'); line != "up\n" {
		t.Fatalf("it said %q, %v", line, err)
	}
	return cmd.Process.Pid, out
}

// wait is what a script does until it is told to end.
const wait = `; echo up; while :; do sleep 1000 & wait $!; done`

const (
	polite = `trap 'echo ended; exit' TERM` + wait
	deaf   = `trap '' TERM` + wait
	other  = `trap 'echo TERM; exit' TERM; trap 'echo USR1; exit' USR1` + wait
)

// rounds is a list that has these the first time, those the second, …, and
// then none.
func rounds(of ...[]int) func() ([]int, error) {
	return func() ([]int, error) {
		if len(of) == 0 {
			return nil, nil
		}
		pids := of[0]
		of = of[1:]
		return pids, nil
	}
}

func always(int, uint64) bool { return true }

func (e *ending) test(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), guard)
	defer cancel()
	e.log = quiet()
	if err := e.run(ctx); err != nil {
		t.Error(err)
	}
}

func said(t *testing.T, out *bufio.Reader) string {
	t.Helper()
	text, err := io.ReadAll(out)
	if err != nil {
		t.Error(err)
	}
	return string(text)
}

func TestAskedToEnd(t *testing.T) {
	a, outA := shell(t, polite)
	b, outB := shell(t, polite)
	e := &ending{unknown: guard, list: rounds([]int{a, b}), ours: always}
	e.test(t)
	if got := said(t, outA) + said(t, outB); got != "ended\nended\n" || e.ended != 2 || e.killed != 0 {
		t.Errorf("said %q; %d ended, %d killed", got, e.ended, e.killed)
	}
}

// Who does not want to is killed when its own time is over, at the latest when
// that of all is.
func TestKilledInTheEnd(t *testing.T) {
	const short = 50 * time.Millisecond
	for name, e := range map[string]*ending{
		"its own": {unknown: short},
		"of all":  {unknown: guard, deadline: time.Now().Add(short)},
		"no own":  {deadline: time.Now().Add(short)},
	} {
		pid, _ := shell(t, deaf)
		e.list, e.ours = rounds([]int{pid}), always
		e.test(t)
		if e.ended != 1 || e.killed != 1 {
			t.Errorf("%s: %d ended, %d killed", name, e.ended, e.killed)
		}
	}
}

// A known worker gets its own signal; one that took its number over does not
// inherit it.
func TestKnownWorkers(t *testing.T) {
	a, outA := shell(t, other)
	b, outB := shell(t, other)
	how := Leftover{Start: startOf(t, a), Signal: syscall.SIGUSR1, Timeout: guard}
	stale := how
	stale.Start = startOf(t, b) + 1
	e := &ending{known: map[int]Leftover{a: how, b: stale}, unknown: guard, list: rounds([]int{a, b}), ours: always}
	e.test(t)
	if gotA, gotB := said(t, outA), said(t, outB); gotA != "USR1\n" || gotB != "TERM\n" {
		t.Errorf("the known got %q, another %q", gotA, gotB)
	}
}

// What is in a known worker's group is the worker's own business.
func TestTheGroupOfAKnownWorker(t *testing.T) {
	member := `sh -c "trap 'echo member' TERM; echo \$\$; while :; do sleep 1000 & wait \$!; done" & `
	cmd := exec.Command("/bin/sh", "-c", member+polite)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	leader, inner := cmd.Process.Pid, 0
	out := bufio.NewReader(pipe)
	for range 2 {
		line, err := out.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		for _, digit := range strings.TrimSpace(strings.TrimPrefix(line, "up")) {
			inner = inner*10 + int(digit-'0')
		}
	}
	e := &ending{
		known:   map[int]Leftover{leader: {Start: startOf(t, leader), Timeout: guard}},
		unknown: guard, list: rounds([]int{inner, leader}), ours: always,
	}
	e.test(t)
	if got := said(t, out); got != "ended\n" {
		t.Errorf("said %q", got)
	}
}

// A process that is not ours by the time its pidfd is open is left alone, and
// what was forked meanwhile is not.
func TestLooksTwice(t *testing.T) {
	a, outA := shell(t, polite)
	b, outB := shell(t, polite)
	c, outC := shell(t, polite)
	e := &ending{
		unknown: guard, list: rounds([]int{a, c}, []int{b, c}),
		ours: func(pid int, _ uint64) bool { return pid != c },
	}
	e.test(t)
	if got := said(t, outA) + said(t, outB); got != "ended\nended\n" || e.ended != 2 {
		t.Errorf("said %q; %d ended", got, e.ended)
	}
	if err := syscall.Kill(c, syscall.SIGTERM); err != nil {
		t.Errorf("the one that is not ours: %v", err)
	}
	if got := said(t, outC); got != "ended\n" {
		t.Errorf("the one that is not ours said %q", got)
	}
}

// When it is not right any more to end what is there, nothing is touched.
func TestNotWantedAnyMore(t *testing.T) {
	pid, _ := shell(t, polite)
	e := &ending{unknown: guard, list: rounds([]int{pid}), ours: always, wanted: func() bool { return false }}
	e.test(t)
	if e.ended != 0 {
		t.Errorf("%d ended", e.ended)
	}
}

// An interrupted ending waits no longer.
func TestInterrupted(t *testing.T) {
	pid, _ := shell(t, deaf)
	ctx, cancel := context.WithCancel(t.Context())
	looked := false
	e := &ending{log: quiet(), unknown: guard, list: rounds([]int{pid}), ours: func(int, uint64) bool {
		looked = true
		cancel()
		return true
	}}
	if err := e.run(ctx); !errors.Is(err, context.Canceled) || !looked {
		t.Errorf("%v", err)
	}
}

func TestByHand(t *testing.T) {
	a, outA := shell(t, other)
	b, _ := shell(t, polite)
	o := Options{Log: quiet(), Known: func() map[int]Leftover {
		return map[int]Leftover{
			a:           {Start: startOf(t, a), Signal: syscall.SIGUSR1},
			b:           {Start: startOf(t, b) + 1}, // another's by now
			4194304:     {Start: 1},
			os.Getpid(): {Start: 1},
		}
	}}
	r, err := Hand(t.Context(), o)
	if err != nil || r != (Result{Ended: 1}) {
		t.Errorf("%+v, %v", r, err)
	}
	if got := said(t, outA); got != "USR1\n" {
		t.Errorf("said %q", got)
	}
	if err := syscall.Kill(b, 0); err != nil {
		t.Errorf("the stranger: %v", err)
	}
	if r, err := Hand(t.Context(), Options{Log: quiet()}); err != nil || r != (Result{}) {
		t.Errorf("nobody known: %+v, %v", r, err)
	}
}

// The time of a command of the unit runs from when its process was started.
func TestBeginsWithItsProcess(t *testing.T) {
	before := time.Now()
	pid, _ := shell(t, "sleep 0.3"+wait) // "up" comes late
	up := time.Now()
	got := begin(pid)
	if got.Before(before.Add(-2*tick)) || got.After(up.Add(-200*time.Millisecond)) {
		t.Errorf("it began at %v; it was started after %v and spoke at %v", got, before, up)
	}
	if err := syscall.Kill(-pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, err := syscall.Wait4(pid, nil, 0, nil); err != nil {
		t.Error(err)
	}
}

// startOf is a process's start time.
func startOf(t *testing.T, pid int) uint64 {
	t.Helper()
	c, err := proc.Adopt(pid, 0, -1, func() {})
	if err != nil {
		t.Fatal(err)
	}
	return c.StartTime()
}
