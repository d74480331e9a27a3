package cli_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"fugue/e2e"
)

// read is a file of a process in /proc.
func read(t *testing.T, pid int, name string) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// variable is one of a process's environment.
func variable(t *testing.T, pid int, name string) string {
	t.Helper()
	for _, kv := range strings.Split(read(t, pid, "environ"), "\x00") {
		if value, ok := strings.CutPrefix(kv, name+"="); ok {
			return value
		}
	}
	return ""
}

// Everything that a file can say of a worker's rights and limits is what the
// kernel says of it.
func TestRightsAndLimits(t *testing.T) {
	p := newPool(t)
	p.as(0)
	path := filepath.Join(p.dir, "web.toml")
	text := fmt.Sprintf(`command = [%q]
user = "nobody"
group = "65533"
supplementary_groups = ["4", "5"]
directory = "/usr/bin"
environment = { NAME = "worker {worker}" }
stdin = "socket"
tmp_directory = "runtime"
listen.http.stream = %q
listen.http.user = "nobody"
ready.when = "notify"
restart.min_uptime = 0
[limits]
umask = "0027"
nice = 7
oom_score_adj = 321
no_new_privs = true
nofile = 600
sigpending = "500:600"
core = 0
cpu = "10min:1h"
capability_bounding_set = ["CAP_NET_BIND_SERVICE", "CAP_CHOWN"]
ambient_capabilities = ["CAP_NET_BIND_SERVICE"]
`, e2e.Testworker(t), p.dir+"/web.sock")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p.begin("run", "-c", path)
	w := p.status().Workers[0]
	status := strings.Join(strings.Fields(read(t, w.PID, "status")), " ")
	for _, want := range []string{"Uid: 65534 65534 65534 65534 Gid: 65533 65533 65533 65533", "Groups: 4 5 65533", "Umask: 0027", "NoNewPrivs: 1",
		"CapInh: 0000000000000400 CapPrm: 0000000000000400 CapEff: 0000000000000400 CapBnd: 0000000000000401 CapAmb: 0000000000000400"} {
		if !strings.Contains(status, want) {
			t.Errorf("no %q in %s", want, status)
		}
	}
	limits := strings.Join(strings.Fields(read(t, w.PID, "limits")), " ")
	for _, want := range []string{"Max pending signals 500 600", "Max core file size 0 0", "Max cpu time 600 3600"} {
		if !strings.Contains(limits, want) {
			t.Errorf("no %q in %s", want, limits)
		}
	}
	if got := strings.TrimSpace(read(t, w.PID, "oom_score_adj")); got != "321" {
		t.Errorf("oom_score_adj %s", got)
	}
	if n, err := unix.Getpriority(unix.PRIO_PROCESS, w.PID); 20-n != 7 {
		t.Errorf("nice %d, %v", 20-n, err)
	}
	if got := variable(t, w.PID, "NAME"); got != "worker 1" {
		t.Errorf("NAME=%s", got)
	}
	link := func(name string) string {
		to, err := os.Readlink(fmt.Sprintf("/proc/%d/%s", w.PID, name))
		if err != nil {
			t.Fatal(err)
		}
		return to
	}
	if link("cwd") != "/usr/bin" || !strings.HasPrefix(link("fd/0"), "socket:") {
		t.Errorf("cwd %s, stdin %s", link("cwd"), link("fd/0"))
	}
	var st unix.Stat_t
	tmp := variable(t, w.PID, "TMPDIR")
	if err := unix.Lstat(tmp, &st); err != nil || st.Uid != nobody || st.Gid != 65533 || st.Mode != unix.S_IFDIR|0o700 {
		t.Errorf("TMPDIR=%s: uid %d, gid %d, mode %o, %v", tmp, st.Uid, st.Gid, st.Mode, err)
	}
}

// awaitGone waits until there is nothing of that name in a directory.
func awaitGone(t *testing.T, path string) {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	_, err = unix.InotifyAddWatch(fd, filepath.Dir(path), unix.IN_DELETE|unix.IN_DELETE_SELF)
	for end := time.Now().Add(guard); err == nil && time.Now().Before(end); {
		if _, err := os.Lstat(path); os.IsNotExist(err) {
			return
		}
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(time.Until(end).Milliseconds()))
		_, _ = unix.Read(fd, make([]byte, 4096))
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Fatalf("%s is still there: %v", path, err)
	}
}

// A worker's temporary directory is there as long as the worker, whichever
// master sees its end, or none.
func TestTemporaryDirectories(t *testing.T) {
	for name, below := range map[string]string{"in the runtime directory": "", "elsewhere": "tmp"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPool(t)
			where := filepath.Join(p.dir, "fugue", "web")
			key := "runtime"
			if below != "" {
				where = filepath.Join(p.dir, below)
				key = where
				if err := os.Mkdir(where, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			words := append([]string{"run", "--tmp_directory", key}, p.keeping()[1:]...)
			p.begin(words...)
			dirs := map[int]string{}
			for _, w := range p.status().Workers {
				dir := variable(t, w.PID, "TMPDIR")
				if !strings.HasPrefix(dir, where+"/") || dirs[1] == dir {
					t.Errorf("worker %d has %s", w.Slot, dir)
				}
				dirs[w.Slot] = dir
				if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
					t.Error(err)
				}
			}
			there := func(slots ...int) {
				t.Helper()
				for _, slot := range slots {
					if _, err := os.Lstat(filepath.Join(dirs[slot], "file")); err != nil {
						t.Errorf("of worker %d: %v", slot, err)
					}
				}
			}
			if code, _, errs := ask(t, p.fugue("upgrade", "web")); code != 0 {
				t.Fatalf("upgrade: exit %d\n%s", code, errs)
			}
			there(1, 2)
			p.die()
			p.again("took over from a master that is gone", words...)
			there(1, 2)
			kill := func(slot int) {
				for _, w := range p.status().Workers {
					if w.Slot == slot {
						_ = syscall.Kill(w.PID, syscall.SIGKILL)
					}
				}
			}
			kill(1)
			awaitGone(t, dirs[1])
			there(2)
			s := p.status()
			for s.Ready != 2 { // one is to live on: else nothing is taken over
				s = p.status()
			}
			p.die()
			for _, w := range s.Workers {
				if w.Slot == 2 {
					_ = syscall.Kill(w.PID, syscall.SIGKILL)
					gone(t, []int{w.PID})
				}
			}
			there(2) // nobody has seen it
			p.again("took over from a master that is gone", words...)
			awaitGone(t, dirs[2])
			if code, _, errs := ask(t, p.fugue("stop", "web")); code != 0 {
				t.Errorf("stop: exit %d\n%s", code, errs)
			}
			_ = p.run.Wait()
			if left, _ := filepath.Glob(where + "/*/*.*"); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}
