package cli_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"fugue/internal/loadtest"
)

// wantPID fails the test unless the file says the master's number.
func (p *pool) wantPID(path string) (pid int) {
	p.t.Helper()
	pid = p.status().PID
	if text, err := os.ReadFile(path); err != nil || string(text) != fmt.Sprintln(pid) {
		p.t.Errorf("%s: %q, %v; want %d", path, text, err, pid)
	}
	return pid
}

// The file is right from the start to the end: over handovers, of which none
// leaves a descriptor; and after a kill -9 it is the next one's, while a pool
// that lives keeps it from every other.
func TestPIDFile(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	path := p.dir + "/web.pid"
	words := slices.Insert(p.words(), 1, "--pid-file", path)
	p.begin(words...)
	pid := p.wantPID(path)
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	refused := func() {
		t.Helper()
		other := newPool(t)
		code, _, errs := ask(t, other.fugue("run", "--name", "web", "--pid-file", path, "sleep", "1"))
		if want := fmt.Sprintf("process %d holds it", pid); code != 78 || !strings.Contains(errs, want) {
			t.Errorf("another pool: exit %d, want 78 and %q in\n%s", code, want, errs)
		}
	}
	refused()
	fds := openFDs(t, pid)
	for range loadtest.Scale(100) {
		if code, _, errs := ask(t, p.fugue("upgrade", "web")); code != 0 {
			t.Fatalf("upgrade: exit %d\n%s", code, errs)
		}
		if now := p.wantPID(path); now != pid {
			t.Fatalf("the master was %d and is %d", pid, now)
		}
	}
	refused()
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
		t.Errorf("the file was replaced: %v", err)
	}
	// Each look lets the master close the connections of those before.
	for late := time.Now().Add(guard); openFDs(t, pid) > fds+2; p.status() {
		if time.Now().After(late) {
			t.Fatalf("%d descriptors, and %d after the handovers", fds, openFDs(t, pid))
		}
	}
	if err := p.run.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.run.Wait()
	if text, err := os.ReadFile(path); err != nil || string(text) != fmt.Sprintln(pid) {
		t.Errorf("after kill -9: %q, %v", text, err)
	}
	p.run = nil
	p.begin(words...)
	if now := p.wantPID(path); now == pid {
		t.Errorf("the next master has the number of the last")
	}
	if code, _, errs := ask(t, p.fugue("stop", "web")); code != 0 {
		t.Fatalf("stop: exit %d\n%s", code, errs)
	}
	_ = p.run.Wait()
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("it is left: %v", err)
	}
}

func openFDs(t *testing.T, pid int) int {
	t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// What somebody else has put there is not removed, and a reload moves the file.
func TestPIDFileOfOthers(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	file, first, second := p.dir+"/web.toml", p.dir+"/1.pid", p.dir+"/2.pid"
	write := func(pidFile string) {
		t.Helper()
		text := fmt.Sprintf("command = [\"sleep\", \"1000\"]\npid_file = %q\n[restart]\nmin_uptime = \"0\"\n", pidFile)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("1.pid")
	p.begin("run", "-c", file)
	p.wantPID(first)
	if err := os.Symlink("elsewhere", second); err != nil {
		t.Fatal(err)
	}
	write("2.pid")
	code, _, errs := ask(t, p.fugue("reload", "web"))
	if want := file + ":2:1: error: pid file " + second + ": it is a symbolic link"; code != 78 || !strings.HasPrefix(errs, want) {
		t.Errorf("exit %d, want 78 and %q in\n%s", code, want, errs)
	}
	p.wantPID(first)
	if err := os.Remove(second); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := ask(t, p.fugue("reload", "web")); code != 0 {
		t.Fatalf("reload: exit %d\n%s", code, errs)
	}
	p.wantPID(second)
	if _, err := os.Lstat(first); !os.IsNotExist(err) {
		t.Errorf("the first is left: %v", err)
	}
	if err := os.WriteFile(first, []byte("7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(first, second); err != nil {
		t.Fatal(err)
	}
	ask(t, p.fugue("stop", "web"))
	_ = p.run.Wait()
	if text, err := os.ReadFile(second); string(text) != "7\n" {
		t.Errorf("another's file: %q, %v", text, err)
	}
}
