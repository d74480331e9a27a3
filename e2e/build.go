package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// binEnv is the directory of the binaries: made and removed by Main, unless it
// is set from outside; what is in it already is not built.
const binEnv = "FUGUE_E2E_BIN"

// Each is built once a test process, when first asked for.
var (
	fugueOnce  = sync.OnceValues(func() (string, error) { return buildOnce("fugue", "fugue") })
	workerOnce = sync.OnceValues(func() (string, error) {
		return buildOnce("testworker", "fugue/internal/testworker/cmd/testworker")
	})
)

func buildOnce(name, pkg string) (string, error) {
	dir := os.Getenv(binEnv)
	if dir == "" {
		return "", errors.New("TestMain must be os.Exit(e2e.Main(m))")
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	return path, build(path, pkg)
}

// Fugue is the path of fugue outside, static and of this tree.
func Fugue(t testing.TB) string {
	t.Helper()
	return built(t, fugueOnce)
}

// Testworker is the path of testworker outside.
func Testworker(t testing.TB) string {
	t.Helper()
	return built(t, workerOnce)
}

func built(t testing.TB, once func() (string, error)) string {
	t.Helper()
	path, err := once()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// BuildFugue builds fugue with these linker flags (-X …) into a file that goes
// with the test: another version to upgrade to. Sandbox.Install puts it inside.
func BuildFugue(t testing.TB, ldflags string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "fugue")
	if err := build(out, "fugue", "-ldflags", ldflags); err != nil {
		t.Fatal(err)
	}
	return out
}

func build(out, pkg string, flags ...string) error {
	args := append([]string{"build", "-o", out}, flags...)
	cmd := exec.Command("go", append(args, pkg)...)
	// One binary must run on every root: no C library.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, text)
	}
	return nil
}
