package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// Required tells whether FUGUE_E2E=required forbids to skip.
func Required() bool { return os.Getenv("FUGUE_E2E") == "required" }

// Need skips the test, or fails it if e2e is required, for what this machine lacks;
// nil is nothing.
func Need(t testing.TB, lacks error) {
	t.Helper()
	switch {
	case lacks == nil:
	case Required():
		t.Fatalf("FUGUE_E2E=required, and %v", lacks)
	default:
		t.Skip(lacks)
	}
}

// NeedFiles is Need for what has to be installed.
func NeedFiles(t testing.TB, paths ...string) {
	t.Helper()
	for _, path := range paths {
		_, err := os.Stat(path)
		Need(t, err)
	}
}

// NeedProgram is Need for one that is to be installed as a package has it.
func NeedProgram(t testing.TB, name string) {
	t.Helper()
	for _, dir := range []string{"/usr/bin", "/usr/sbin"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return
		}
	}
	Need(t, fmt.Errorf("%s is not installed", name))
}

// NeedRoot is Need for a test of users and rights.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		Need(t, errors.New("this is not root"))
	}
}
