package cli_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"fugue/internal/control"
	"fugue/internal/loadtest"
)

// children of a process, without those of its other threads.
func children(t *testing.T, pid int) (pids []int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range strings.Fields(string(text)) {
		n, _ := strconv.Atoi(word)
		pids = append(pids, n)
	}
	return pids
}

// As PID 1 of a container fugue collects everybody's children, and never one of
// its own workers' statuses with them; it is stopped by TERM, although the kernel
// keeps signals without a handler from PID 1, and its exit status comes out.
func TestPID1(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	words := []string{"--name", "web", "-n", "3", "-l", p.dir + "/web.sock", "--ready.when", "notify", "--restart.min_uptime", "0",
		"--restart.backoff", "10ms", "--restart.max_backoff", "20ms"}
	flags := p.dir + "/flags"
	if err := os.WriteFile(flags, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	worker := p.words("-config", flags)
	worker = worker[slices.Index(worker, "notify")+1:]
	fugue := p.fugue(slices.Concat([]string{"run"}, words, worker)...)
	p.run = exec.Command("/usr/bin/unshare", slices.Concat([]string{"--pid", "--fork", "--mount-proc", "--kill-child", fugue.Path}, fugue.Args[1:])...)
	p.run.Env, p.run.SysProcAttr = fugue.Env, &syscall.SysProcAttr{}
	log, err := os.Create(p.dir + "/log") // it says much, and nobody reads it meanwhile
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	p.run.Stdout, p.run.Stderr = log, log
	if err := p.run.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.run.Process.Kill(); _ = p.run.Wait() })
	p.awaitServing()
	// From now on its workers die all the time; while it starts, that would be its end.
	if err := os.WriteFile(flags, []byte("die-after=20ms\ndie-code=7\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	master := children(t, p.run.Process.Pid)[0]
	for _, pid := range children(t, master) {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	inside := func(command string) {
		t.Helper()
		if out, err := exec.Command("/usr/bin/nsenter", "-t", strconv.Itoa(master), "-p", "-m", "/bin/sh", "-c", command).CombinedOutput(); err != nil {
			said, _ := os.ReadFile(p.dir + "/log")
			t.Fatalf("%s: %v\n%s\n%s", command, err, out, said)
		}
	}
	n := loadtest.Scale(1000)
	for range 2 { // by this image, and by the next
		inside(fmt.Sprintf("i=0; while [ $i -lt %d ]; do i=$((i+1)); ( (exit $((i %% 9))) & ); done", n/2))
		if code, _, errs := ask(t, p.fugue("upgrade", "web")); code != 0 {
			t.Fatalf("upgrade: exit %d\n%s", code, errs)
		}
	}
	for end := time.Now().Add(guard); ; {
		left := 0
		for _, pid := range children(t, master) {
			if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil && bytes.Contains(stat, []byte(") Z ")) {
				left++
			}
		}
		if left <= 3 { // workers end all the time, and are collected
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d processes were not collected", left)
		}
	}
	p.logHas(p.dir+"/log", " ended: ", 10)
	if err := syscall.Kill(master, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- p.run.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("TERM: %v", err)
		}
	case <-time.After(guard):
		t.Fatal("TERM does not end it")
	}
	text, err := os.ReadFile(p.dir + "/log")
	if err != nil {
		t.Fatal(err)
	}
	running, _, _ := strings.Cut(string(text), " stopping: ")
	ends := regexp.MustCompile(`worker \d+ \(pid \d+\) of generation \d+ ended: (.*)`).FindAllStringSubmatch(running, -1)
	for _, e := range ends {
		if e[1] != "exit status 7" && e[1] != "killed by SIGKILL" {
			t.Errorf("a worker's status was stolen: %s", e[0])
		}
	}
	if len(ends) < 10 {
		t.Errorf("only %d workers ended:\n%s", len(ends), text)
	}
}

// awaitServing asks until the pool serves.
func (p *pool) awaitServing() {
	p.t.Helper()
	out := ""
	for end := time.Now().Add(guard); time.Now().Before(end); {
		var s control.Status
		_, out, _ = ask(p.t, p.fugue("status", "web", "-o", "json"))
		if json.Unmarshal([]byte(out), &s) == nil && s.State == control.StateRunning {
			return
		}
	}
	p.t.Fatalf("the pool does not come up: %s", out)
}

// The exit status of a pool that does not come up comes out of the container.
func TestPID1ThatCannotStart(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	for want, words := range map[int][]string{
		1:  {"run", "--name", "web", "-l", p.dir + "/web.sock", "--", "false"},
		78: {"run", "-c", p.dir + "/nowhere.toml"},
	} {
		fugue := p.fugue(words...)
		cmd := exec.Command("/usr/bin/unshare", slices.Concat([]string{"--pid", "--fork", "--mount-proc", "--kill-child", fugue.Path}, fugue.Args[1:])...)
		cmd.Env = fugue.Env
		if code, out, errs := ask(t, cmd); code != want {
			t.Errorf("%v: exit %d, want %d\n%s%s", words, code, want, out, errs)
		}
	}
}
