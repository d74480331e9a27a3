// Package e2e gives each test a systemd of its own: a real one, as PID 1 of
// namespaces that the test makes and that end with it. It boots in a fifth of a
// second from the machine's own files or from a debootstrapped root, has a
// network, a cgroup tree and a journal that nobody else sees, and knows no unit
// but the test's and the few that a boot needs.
//
//	func TestMain(m *testing.M) { os.Exit(e2e.Main(m)) }
//
//	func TestReload(t *testing.T) {
//		e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
//			sb.File("/etc/fugue/web.toml", `command = ["testworker", "-config", "/t/worker"]`)
//			sb.File("/t/worker", "version=v1")
//			sb.Unit("web.service", "[Service]\nType=notify\nExecStart=fugue run -c /etc/fugue/web.toml\n…")
//			sb.Do("systemctl", "start", "web")
//			load := sb.Load(loadtest.Config{Address: "127.0.0.1:8080"})
//			sb.File("/t/worker", "version=v2")
//			if r := sb.Systemctl("reload", "web"); r.Code != 0 {
//				t.Fatal(r)
//			}
//			load.AwaitVersion("v2")
//			load.StopWithoutLoss()
//		})
//	}
//
// Inside, /usr/bin has fugue and testworker, built from this tree and static;
// /t is a directory of the test (Sandbox.Path("/t") outside); units are in /u.
// Changes to any file stay in memory and are gone with the sandbox. When a test
// fails, its journal is in its log.
//
// What a sandbox needs: root, a cgroup2 mount that can be written, overlayfs,
// util-linux's nsenter, systemd's binaries in the root. Where that is missing a
// test is skipped, or fails if FUGUE_E2E is "required". FUGUE_TRIXIE_ROOT says
// where the second root is. It does not run units with the host's kernel
// modules, devices or cgroup controllers in mind: there are none inside.
package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"fugue/internal/loadtest"
)

// roleEnv makes the test binary be something else; see Main.
const roleEnv = "FUGUE_E2E_ROLE"

// Main is m.Run, except in the processes that the harness starts from the same
// binary: the keeper of a sandbox, its PID 1 up to the exec of systemd, the load
// inside its network, and the listener to systemd's signals.
func Main(m *testing.M) int {
	switch role := os.Getenv(roleEnv); role {
	case "":
	case "keeper":
		return keeper(os.Stdin, os.Stdout)
	case "init":
		return becomeInit()
	case "changes":
		return printChanges(os.Args[1], os.Stdout)
	case "load":
		return loadtest.Main(os.Stdin, os.Stdout)
	default:
		fmt.Fprintln(os.Stderr, "e2e: no such role:", role)
		return 2
	}
	if os.Getenv(binEnv) != "" { // prebuilt, or a test's test
		return m.Run()
	}
	bin, err := os.MkdirTemp("", "fugue-e2e-bin-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer os.RemoveAll(bin)
	os.Setenv(binEnv, bin)
	return m.Run()
}

// selfEnv is the environment in which this binary plays role.
func selfEnv(role string) []string {
	return []string{
		roleEnv + "=" + role,
		"GORACE=atexit_sleep_ms=0", // else a race build ends a second late
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	}
}

// Root is a file system that a sandbox can be booted from.
type Root struct {
	Name string // of the subtest
	Path string
}

// Roots are the two that every scenario runs on: the machine's own files, and
// Debian 13.
func Roots() []Root {
	trixie := os.Getenv("FUGUE_TRIXIE_ROOT")
	if trixie == "" {
		trixie = "/var/cache/fugue-test/trixie"
	}
	return []Root{{"host", "/"}, {"trixie", trixie}}
}

// EachRoot runs f as a parallel subtest on each root, in a sandbox just booted.
func EachRoot(t *testing.T, f func(t *testing.T, sb *Sandbox), options ...Option) {
	t.Parallel()
	for _, root := range Roots() {
		t.Run(root.Name, func(t *testing.T) {
			t.Parallel()
			f(t, Boot(t, root, options...))
		})
	}
}

func missing(root Root) error {
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		return fmt.Errorf("a sandbox needs root")
	}
	if _, err := os.Stat(filepath.Join(root.Path, systemdPath)); err != nil {
		return fmt.Errorf("there is no systemd in the root %s: %w", root.Name, err)
	}
	if _, err := os.Stat("/usr/bin/nsenter"); err != nil {
		return fmt.Errorf("a sandbox needs util-linux: %w", err)
	}
	top, err := cgroupTop()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(top, "fugue-e2e-probe-")
	if err != nil {
		return fmt.Errorf("a sandbox needs a cgroup of its own: %w", err)
	}
	return os.Remove(dir)
}
