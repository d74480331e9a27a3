package packages_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"fugue/e2e"
)

// Two releases of one major version.
const (
	older = "1.0.0"
	newer = "1.1.0"
)

// made is where packages of this test process are; removed when it ends.
var made = sync.OnceValues(func() (string, error) { return os.MkdirTemp("", "fugue-packages-") })

func TestMain(m *testing.M) {
	code := e2e.Main(m)
	if dir, err := made(); err == nil {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// release is all files of one version, as its name in the directory of made.
type release func() (string, error)

var (
	olderOnce = sync.OnceValues(func() (string, error) { return build("older", older, runtime.GOARCH) })
	newerOnce = sync.OnceValues(func() (string, error) { return build("newer", newer, everywhere) })
)

const everywhere = "amd64 arm64"

// Patterns of the files for this machine.
const (
	debs     = "*_" + runtime.GOARCH + ".deb"
	tarballs = "*-linux-" + runtime.GOARCH + ".tar.gz"
)

// rpms is what RPM calls this machine.
func rpms() string {
	return "*." + map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH] + ".rpm"
}

func build(name, version, arches string) (string, error) {
	dir, err := made()
	if err != nil {
		return "", err
	}
	out := filepath.Join(dir, name)
	cmd := exec.Command("../../packaging/build.sh")
	cmd.Env = append(os.Environ(), "VERSION="+version, "ARCHES="+arches, "OUT="+out, "SOURCE_DATE_EPOCH=1700000000")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", errors.Join(fmt.Errorf("packaging/build.sh: %w", err), errors.New(string(text)))
	}
	return out, nil
}

// file is the one file of a release that fits the pattern.
func file(t *testing.T, r release, pattern string) string {
	t.Helper()
	dir, err := r()
	if err != nil {
		t.Fatal(err)
	}
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s in %s: %v, %v", pattern, dir, found, err)
	}
	return found[0]
}
