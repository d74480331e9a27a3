package e2e

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// guard bounds every single wait of the harness: a boot, a command, an event. It
// is far above what any of them needs, so that meeting it is a verdict.
const guard = 60 * time.Second

// Option changes how a sandbox boots.
type Option func(*spec)

// WithoutFugue leaves fugue out, for the harness's own tests: they must tell
// whether the harness works while fugue does not build.
func WithoutFugue() Option {
	return func(s *spec) { delete(s.Install, fuguePath) }
}

const (
	fuguePath  = "/usr/bin/fugue"
	workerPath = "/usr/bin/testworker"
)

// WithDBus starts a system bus at boot: with it systemd can be asked by others
// than root, and tools such as systemd-run work.
func WithDBus() Option {
	return func(s *spec) {
		s.DBus = true
		s.Files["/u/sockets.target"] += "Wants=dbus.socket\nAfter=dbus.socket\n"
		s.Files["/u/multi-user.target"] += "Wants=dbus.service\nAfter=dbus.service\n"
	}
}

// WithRootUnits lets systemd find the root's own units behind those in /u, for
// tests that install a package.
func WithRootUnits() Option {
	return func(s *spec) { s.Env = append(s.Env, "SYSTEMD_UNIT_PATH=/u:") }
}

// generators is where systemd looks for generators inside: not the root's own,
// unless a test puts them there.
const generators = "/usr/lib/systemd/fugue-e2e-generators"

// WithGenerator makes fugue a generator of units, at boot and at each
// daemon-reload, as its package does.
func WithGenerator() Option {
	return func(s *spec) {
		s.Links[generators+"/fugue-generator"] = fuguePath
		s.Env = slices.DeleteFunc(s.Env, func(v string) bool { return strings.HasPrefix(v, "SYSTEMD_UNIT_PATH=") })
		s.Env = append(s.Env, "SYSTEMD_UNIT_PATH=/u:/run/systemd/generator")
	}
}

// WithRootGenerators lets systemd run the root's own generators, and see what they
// make, for tests that install a package. Units of the root stay out of sight, or
// each of its services would start: a package's can be linked into /u.
func WithRootGenerators() Option {
	return func(s *spec) {
		s.Env = slices.DeleteFunc(s.Env, func(v string) bool {
			return strings.HasPrefix(v, "SYSTEMD_UNIT_PATH=") || strings.HasPrefix(v, "SYSTEMD_GENERATOR_PATH=")
		})
		s.Env = append(s.Env, "SYSTEMD_UNIT_PATH=/u:/run/systemd/generator", "SYSTEMD_GENERATOR_PATH=/usr/lib/systemd/system-generators")
	}
}

// WithEnabled lets systemd see, behind WithRootGenerators, what is enabled in the
// root, for tests that enable a unit.
func WithEnabled() Option {
	return func(s *spec) {
		for i, v := range s.Env {
			if path, ok := strings.CutPrefix(v, "SYSTEMD_UNIT_PATH=/u:"); ok {
				s.Env[i] = "SYSTEMD_UNIT_PATH=/u:/etc/systemd/system:" + path
			}
		}
	}
}

// WithFile writes a file before the boot, a unit in /u for one.
func WithFile(path, content string) Option {
	return func(s *spec) { s.Files[path] = content }
}

// WithLink makes a symbolic link before the boot.
func WithLink(path, target string) Option {
	return func(s *spec) { s.Links[path] = target }
}

// Sandbox is a systemd and the namespaces it is PID 1 of. Its methods that
// cannot report an error end the test.
type Sandbox struct {
	t      testing.TB
	root   Root
	dir    string
	pid    int
	cgroup string

	keeper    *exec.Cmd
	keeperIn  io.Closer
	keeperErr bytes.Buffer
	ended     chan struct{} // closed when the keeper has ended and cleaned up
}

// Boot starts a systemd on root, waits until it has finished booting, and ends
// it with the test.
func Boot(t testing.TB, root Root, options ...Option) *Sandbox {
	t.Helper()
	Need(t, missing(root))
	s, err := newSpec(t, root, options)
	if err != nil {
		t.Fatal(err)
	}
	// Not t.TempDir: its names are long, and unix sockets' must not be.
	dir, err := os.MkdirTemp("", "fe2e")
	if err != nil {
		t.Fatal(err)
	}
	s.Dir = dir
	sb := &Sandbox{t: t, root: root, dir: dir, ended: make(chan struct{})}
	if err := sb.boot(s); err != nil {
		_ = sb.teardown() // the failed boot is the news
		t.Fatalf("boot %s: %v", root.Name, err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("journal of %s:\n%s", root.Name, sb.lastJournal())
		}
		sb.End()
	})
	if s.DBus {
		// It asks for its name when the bus is up, and does not wait for it.
		sb.untilDone("systemd to be on the bus", "busctl", "--system", "status", "org.freedesktop.systemd1")
	}
	return sb
}

func newSpec(t testing.TB, root Root, options []Option) (spec, error) {
	t.Helper()
	top, err := cgroupTop()
	if err != nil {
		return spec{}, err
	}
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		return spec{}, err
	}
	s := spec{
		Root: root.Path, CgroupTop: top,
		Install: map[string]string{fuguePath: "", workerPath: ""},
		Links:   map[string]string{},
		Env: []string{
			"container=fugue",
			"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin",
			"NOTIFY_SOCKET=/t/.boot",
			"SYSTEMD_UNIT_PATH=/u",
			"SYSTEMD_GENERATOR_PATH=" + generators,
			"SYSTEMD_ENVIRONMENT_GENERATOR_PATH=/nonexistent",
		},
		Files: map[string]string{
			"/etc/machine-id":            hex.EncodeToString(id) + "\n",
			"/etc/hostname":              "sandbox\n",
			"/etc/systemd/journald.conf": journaldConf,
			"/etc/systemd/system.conf":   "[Manager]\n",
		},
	}
	for name, text := range bootUnits() {
		s.Files["/u/"+name] = text
	}
	s.Files["/u/default.target"] = "[Unit]\nRequires=multi-user.target\nAfter=multi-user.target\nAllowIsolate=yes\n"
	for _, option := range options {
		option(&s)
	}
	s.Install[workerPath] = Testworker(t)
	if _, wanted := s.Install[fuguePath]; wanted {
		s.Install[fuguePath] = Fugue(t)
	}
	return s, nil
}

func (sb *Sandbox) boot(s spec) error {
	for _, name := range []string{"t", "u", "layers", "mnt"} {
		if err := os.Mkdir(filepath.Join(sb.dir, name), 0o755); err != nil {
			return err
		}
	}
	// Services of any user reach their sockets and files in /t.
	if err := errors.Join(os.Chmod(sb.dir, 0o755), os.Chmod(filepath.Join(sb.dir, "t"), 0o777)); err != nil {
		return err
	}
	booted, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(sb.dir, "t/.boot"), Net: "unixgram"})
	if err != nil {
		return err
	}
	defer booted.Close()
	if err := sb.startKeeper(s); err != nil {
		return err
	}
	return sb.awaitBoot(booted)
}

func (sb *Sandbox) startKeeper(s spec) error {
	line, err := json.Marshal(s)
	if err != nil {
		return err
	}
	sb.keeper = exec.Command("/proc/self/exe")
	sb.keeper.Env = selfEnv("keeper")
	sb.keeper.Stderr = &sb.keeperErr
	// A ^C at the terminal is for the test; the keeper sees its end.
	sb.keeper.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	stdin, err := sb.keeper.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := sb.keeper.StdoutPipe()
	if err != nil {
		return err
	}
	if err := sb.keeper.Start(); err != nil {
		sb.keeper = nil
		return err
	}
	sb.keeperIn = stdin
	if _, err := stdin.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("tell the keeper: %w", err)
	}
	var r report
	answer, err := bufio.NewReader(stdout).ReadBytes('\n')
	go func() {
		_, _ = io.Copy(io.Discard, stdout)
		_ = sb.keeper.Wait()
		close(sb.ended)
	}()
	if err != nil {
		<-sb.ended
		return fmt.Errorf("the keeper ended: %s", sb.keeperErr.String())
	}
	if err := json.Unmarshal(answer, &r); err != nil {
		return err
	}
	sb.pid, sb.cgroup = r.PID, r.Cgroup
	return nil
}

// awaitBoot reads what systemd says about itself until its first jobs are done.
func (sb *Sandbox) awaitBoot(booted *net.UnixConn) error {
	over := make(chan struct{})
	defer close(over)
	go func() {
		select {
		case <-sb.ended: // or the read below would go on to its deadline
			_ = booted.SetReadDeadline(time.Now())
		case <-over:
		}
	}()
	if err := booted.SetReadDeadline(time.Now().Add(guard)); err != nil {
		return err
	}
	buf := make([]byte, 4096)
	for {
		n, err := booted.Read(buf)
		if err != nil {
			log, _ := os.ReadFile(bootLog(sb.dir))
			return fmt.Errorf("systemd did not say READY=1: %w\n%s%s", err, log, sb.keeperErr.String())
		}
		for line := range strings.Lines(string(buf[:n])) {
			if strings.TrimSpace(line) == "READY=1" {
				return nil
			}
		}
	}
}

// End ends the sandbox before its test does, which else ends it.
func (sb *Sandbox) End() {
	sb.t.Helper()
	if err := sb.teardown(); err != nil {
		sb.t.Errorf("take %s down: %v", sb.root.Name, err)
	}
}

// teardown ends all of the sandbox and waits until it is gone.
func (sb *Sandbox) teardown() error {
	if sb.keeper == nil {
		return os.RemoveAll(sb.dir)
	}
	sb.keeperIn.Close()
	select {
	case <-sb.ended:
	case <-time.After(guard):
		return errors.New("the keeper does not end")
	}
	if code := sb.keeper.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("keeper: exit %d: %s", code, sb.keeperErr.String())
	}
	return nil
}
