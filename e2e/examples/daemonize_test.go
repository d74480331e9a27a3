package examples_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The file names the process that takes signals, over an upgrade too, and is
// gone with it.
func TestMasterPidPath(t *testing.T) {
	t.Parallel()
	path := filepath.Join(tempDir(t), "master.pid")
	p := old(t, 0, "127.0.0.1", 1, map[string]any{"master_pid_path": path}).serve()
	for range 2 {
		if text, err := os.ReadFile(path); err != nil || string(text) != fmt.Sprintln(p.status().PID) {
			t.Errorf("%q, %v; want %d", text, err, p.status().PID)
		}
		p.fugue("upgrade", p.name)
	}
	p.stop()
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("it is left: %v", err)
	}
}

// The script ends when the pool serves, which goes on without it.
func TestDaemonize(t *testing.T) {
	t.Parallel()
	dir := tempDir(t)
	pid := filepath.Join(dir, "master.pid")
	p := old(t, 0, "127.0.0.1", 2, map[string]any{"daemonize": true, "master_pid_path": pid, "log_file": filepath.Join(dir, "log")})
	p.start("/usr/bin/node", p.script())
	if code := p.end(); code != 0 || !strings.Contains(p.text.String(), "master started, 2 workers") {
		t.Fatalf("the script ended with %d", code)
	}
	t.Cleanup(func() { _ = p.command(fugueBinary(t), "stop", p.name).Run() })
	master := p.status().PID
	if text, err := os.ReadFile(pid); err != nil || string(text) != fmt.Sprintln(master) {
		t.Errorf("%q, %v; want %d", text, err, master)
	}
	before := p.ask()
	p.reload()
	if s := p.askAnother(before.PID); s.Worker == 0 || s.IsMaster {
		t.Errorf("after a reload: %+v, before it %+v", s, before)
	}
	fds := watch(t, append(p.pids(), master))
	p.fugue("stop", p.name)
	awaitEnds(t, fds)
}

// A daemon that cannot start is no success, and says why where it was started.
func TestDaemonizeThatCannotStart(t *testing.T) {
	t.Parallel()
	p := old(t, 0, "127.0.0.1", 1, map[string]any{"daemonize": true, "working_path": "/nowhere"})
	p.start("/usr/bin/node", p.script())
	if code := p.end(); code != 78 || !strings.Contains(p.text.String(), "/nowhere") {
		t.Errorf("the script ended with %d", code)
	}
}
