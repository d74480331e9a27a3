package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Result is how a command inside ended.
type Result struct {
	Command  []string
	Code     int // exit code; -1 if it was killed
	Out, Err string
	Took     time.Duration
}

// String shows it for a failure message.
func (r Result) String() string {
	return fmt.Sprintf("%s: exit %d after %v\n%s%s", strings.Join(r.Command, " "), r.Code, r.Took.Round(time.Millisecond), r.Out, r.Err)
}

// Command prepares a program to run inside all namespaces of the sandbox, as
// root, with a small environment. Its cgroup stays the test's: what systemd
// makes of a process that is none of its units'.
func (sb *Sandbox) Command(ctx context.Context, command ...string) *exec.Cmd {
	args := append([]string{"-t", strconv.Itoa(sb.pid), "-a", "--"}, command...)
	cmd := exec.CommandContext(ctx, "/usr/bin/nsenter", args...)
	cmd.Env = []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root", "LANG=C.UTF-8", "TERM=dumb", "SYSTEMD_PAGER=", "SYSTEMD_COLORS=0",
	}
	endWithChildren(cmd)
	return cmd
}

// endWithChildren is for nsenter, which forks to enter a PID namespace.
func endWithChildren(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second // the last of its output is read by then, however busy the machine is
}

// Exec runs a command inside and waits for it, and for all who hold its output:
// what is to stay behind must be given another.
func (sb *Sandbox) Exec(command ...string) Result {
	sb.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), guard)
	defer cancel()
	var out, errOut bytes.Buffer
	cmd := sb.Command(ctx, command...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	begin := time.Now()
	err := cmd.Run()
	r := Result{Command: command, Out: out.String(), Err: errOut.String(), Took: time.Since(begin)}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		sb.t.Fatalf("it did not end: %v", r)
	case errors.As(err, &exit):
		r.Code = exit.ExitCode()
	case err != nil:
		sb.t.Fatalf("run %v: %v", command, err)
	}
	return r
}

// Do is Exec of a command that must succeed. It returns its output without the
// space around it.
func (sb *Sandbox) Do(command ...string) string {
	sb.t.Helper()
	r := sb.Exec(command...)
	if r.Code != 0 {
		sb.t.Fatal(r)
	}
	return strings.TrimSpace(r.Out)
}

// Systemctl runs systemctl, whose exit code is often the point.
func (sb *Sandbox) Systemctl(args ...string) Result {
	sb.t.Helper()
	return sb.Exec(append([]string{"systemctl"}, args...)...)
}

// Show returns one property of a unit, as systemctl show -P does.
func (sb *Sandbox) Show(unit, property string) string {
	sb.t.Helper()
	return sb.Do("systemctl", "show", "-P", property, unit)
}

// ShowInt is Show of a number: MainPID, NRestarts, NFileDescriptorStore.
func (sb *Sandbox) ShowInt(unit, property string) int {
	sb.t.Helper()
	text := sb.Show(unit, property)
	n, err := strconv.Atoi(text)
	if err != nil {
		sb.t.Fatalf("%s of %s is %q", property, unit, text)
	}
	return n
}

// SystemdVersion is that of PID 1: 252, 257.
func (sb *Sandbox) SystemdVersion() int {
	sb.t.Helper()
	fields := strings.Fields(sb.Do("systemctl", "--version"))
	if len(fields) < 2 {
		sb.t.Fatalf("systemctl --version says %q", fields)
	}
	n, err := strconv.Atoi(fields[1])
	if err != nil {
		sb.t.Fatal(err)
	}
	return n
}

// Unit writes a unit file, or a drop-in ("web.service.d/x.conf"), into /u. A unit
// that systemd knew in another form is read anew (daemon-reload).
func (sb *Sandbox) Unit(name, text string) {
	sb.t.Helper()
	_, err := os.Stat(sb.Path("/u/" + name))
	sb.File("/u/"+name, text)
	if err == nil || strings.Contains(name, "/") {
		sb.DaemonReload()
	}
}

// File writes a file inside, with the directories that lead to it.
func (sb *Sandbox) File(path, content string) {
	sb.t.Helper()
	to := sb.Path(path)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		sb.t.Fatal(err)
	}
	if err := os.WriteFile(to, []byte(content), 0o644); err != nil {
		sb.t.Fatal(err)
	}
}

// ReadFile returns a file's content, "" if there is none.
func (sb *Sandbox) ReadFile(path string) string {
	sb.t.Helper()
	content, err := os.ReadFile(sb.Path(path))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		sb.t.Fatal(err)
	}
	return string(content)
}

// Install puts an executable of the machine inside by a rename, as a package
// upgrade does: running programs keep the old file.
func (sb *Sandbox) Install(from, path string) {
	sb.t.Helper()
	if err := copyFile(sb.Path(path), from); err != nil {
		sb.t.Fatal(err)
	}
}

// Path is where an absolute path of the sandbox is outside. Unix sockets can be
// reached by it too. Symlinks that are absolute inside lead astray: ask for
// /run, not /var/run.
func (sb *Sandbox) Path(path string) string {
	return fmt.Sprintf("/proc/%d/root%s", sb.pid, filepath.Clean("/"+path))
}

// Dir is the sandbox's directory outside; /t inside is t in it.
func (sb *Sandbox) Dir() string { return sb.dir }

// Cgroup is the top of the sandbox's cgroup tree outside.
func (sb *Sandbox) Cgroup() string { return sb.cgroup }

// PID is systemd's process outside.
func (sb *Sandbox) PID() int { return sb.pid }

// DaemonReload makes systemd read its units anew.
func (sb *Sandbox) DaemonReload() {
	sb.t.Helper()
	sb.Do("systemctl", "daemon-reload")
}
