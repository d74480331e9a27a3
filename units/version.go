package units

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
)

// sharedPattern is the library that every part of systemd is linked with; its
// name has the version.
var sharedPattern = regexp.MustCompile(`libsystemd-shared-([0-9]{3,})`)

// Running is the version of the systemd that is PID 1, or that is installed
// where this cannot be seen, or 0. It does not ask systemd, which waits for its
// generators meanwhile. root is the root of the file system.
func Running(root string) int {
	// The mappings tell what runs, also while an upgrade is half way.
	if maps, err := os.ReadFile(filepath.Join(root, "proc/1/maps")); err == nil {
		if v := version(maps); v > 0 {
			return v
		}
	}
	newest := 0
	for _, dir := range []string{"usr/lib/*/systemd", "usr/lib/systemd", "usr/lib64/systemd", "lib/systemd"} {
		names, _ := filepath.Glob(filepath.Join(root, dir, "libsystemd-shared-*.so"))
		for _, name := range names {
			newest = max(newest, version([]byte(name)))
		}
	}
	return newest
}

func version(text []byte) int {
	m := sharedPattern.FindSubmatch(text)
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(string(bytes.TrimSpace(m[1])))
	return n
}
