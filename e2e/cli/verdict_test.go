package cli_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"fugue/internal/control"
)

// A reload says how it went in three ways, each to its own reader.
func TestReloadToEachReader(t *testing.T) {
	flags := filepath.Join(t.TempDir(), "flags")
	if err := os.WriteFile(flags, []byte("stderr=first\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	p := start(t, "-config", flags)
	code, out, errs := ask(t, p.fugue("reload", "web"))
	if code != 0 || errs != "" || !strings.HasPrefix(out, "web: generation 2: preparing\n") ||
		!strings.Contains(out, "\nweb: generation 2 serves") || strings.ContainsAny(out, "\r\x1b") {
		t.Errorf("plain: exit %d\n%q\n%s", code, out, errs)
	}

	code, out, errs = ask(t, p.fugue("reload", "web", "-o", "json"))
	var last control.Event
	for line := range strings.Lines(out) {
		last = control.Event{}
		if err := json.Unmarshal([]byte(line), &last); err != nil {
			t.Errorf("%q: %v", line, err)
		}
	}
	if code != 0 || errs != "" || last.Change == nil || last.Change.Outcome != "ok" {
		t.Errorf("json: exit %d, %+v\n%s", code, last, errs)
	}

	terminal := p.fugue("reload", "web")
	tty := exec.Command("script", "-qec", strings.Join(terminal.Args, " "), "/dev/null")
	tty.Env = append(terminal.Env, "TERM=xterm", "SHELL=/bin/sh")
	code, out, _ = ask(t, tty)
	if lines := strings.Count(out, "\n"); code != 0 || lines != 1 || strings.Count(out, "\x1b[K") < 3 || !strings.Contains(out, "web: generation 4 serves") {
		t.Errorf("terminal: exit %d, %d lines\n%q", code, lines, out)
	}

	if err := os.WriteFile(flags, []byte("stderr=no database\nexit=3\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	before := p.status()
	code, out, errs = ask(t, p.fugue("reload", "web"))
	for _, part := range []string{"of generation 5", "exit status 3", "generation 4 serves", "\n    no database\n"} {
		if !strings.Contains(errs, part) {
			t.Errorf("the verdict lacks %q", part)
		}
	}
	if code != 5 {
		t.Errorf("broken: exit %d\n%s%s", code, out, errs)
	}
	p.untouched(before)
}

// A worker's output stands under its name, a line at a time.
func TestOutputIsRelayed(t *testing.T) {
	p := start(t, "-stderr", "warm", "-notify-after", `STATUS=x\nMAINPID=1`)
	reload := p.fugue("reload", "web")
	if code, _, errs := ask(t, reload); code != 0 {
		t.Fatal(errs)
	}
	p.await(" | warm")
}

// list, events and the shell's completion know the pool.
func TestOthersSeeThePool(t *testing.T) {
	p := start(t)
	code, out, errs := ask(t, p.fugue("list", "-o", "json"))
	if code != 0 || !strings.Contains(out, fmt.Sprintf(`"pid": %d`, p.run.Process.Pid)) {
		t.Errorf("list: exit %d\n%s%s", code, out, errs)
	}
	if code, out, _ := ask(t, p.fugue("__complete", "status", "w")); code != 0 || !strings.HasPrefix(out, "web\n") && !strings.Contains(out, "\nweb\n") {
		t.Errorf("completion: exit %d\n%s", code, out)
	}
	events := p.fugue("events", "web", "-o", "json")
	var said strings.Builder
	events.Stderr = &said
	pipe, err := events.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := events.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(guard, func() { _ = events.Process.Kill() })
	defer late.Stop()
	lines := json.NewDecoder(pipe)
	var e control.Event
	first := make(chan error, 1)
	go func() { first <- lines.Decode(&e) }()
	// It does not say when it has begun to follow: things happen until it tells.
	for n, seen := 3, false; !seen; n ^= 1 {
		if code, _, errs := ask(t, p.fugue("scale", "web", fmt.Sprint(n))); code != 0 {
			t.Fatal(errs)
		}
		select {
		case err := <-first:
			if err != nil {
				t.Fatal(err)
			}
			seen = true
		default:
		}
	}
	if err := p.run.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	exited := 0
	for lines.Decode(&e) == nil {
		if e.Kind == "exited" {
			exited++
		}
	}
	if err := events.Wait(); err != nil || exited < 2 {
		t.Errorf("events: %v, %d workers exited\n%s", err, exited, &said)
	}
}
