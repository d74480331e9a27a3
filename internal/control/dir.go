package control

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	lockFile   = "lock"
	socketFile = "control.sock"
	systemRoot = "/run/fugue"
	systemEtc  = "/etc/fugue"
)

// maxSocketPath is what sun_path holds, without its final NUL (unix(7)).
const maxSocketPath = 107

// CheckName says what is wrong with the name of a pool. Names become parts of
// paths, unit names and log prefixes. The rule is that of the config file.
func CheckName(name string) error {
	for i, r := range name {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		if !letter && (i == 0 || !strings.ContainsRune("_.@-", r)) {
			return Errorf(ExitUsage, "%q cannot be the name of a pool: letters, digits and _.@- after a letter or digit", name)
		}
	}
	if name == "" || len(name) > 64 {
		return Errorf(ExitUsage, "%q cannot be the name of a pool: it must have between 1 and 64 letters", name)
	}
	return nil
}

// Dir is the directory in which a pool keeps its lock, its control socket and
// its state: the entry of RUNTIME_DIRECTORY (systemd.exec(5)) that ends in
// /fugue/NAME, else /run/fugue/NAME for root, else $XDG_RUNTIME_DIR/fugue/NAME.
func Dir(getenv func(string) string, euid int, name string) (string, error) {
	if err := CheckName(name); err != nil {
		return "", err
	}
	for _, d := range runtimeDirectories(getenv) {
		if filepath.Base(d) == name {
			return d, nil
		}
	}
	if euid == 0 {
		return filepath.Join(systemRoot, name), nil
	}
	if xdg := getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(xdg) {
		return filepath.Join(xdg, "fugue", name), nil
	}
	return "", fmt.Errorf("no runtime directory for pool %[1]s: add RuntimeDirectory=fugue/%[1]s to the [Service] section of its unit, or set XDG_RUNTIME_DIR", name)
}

// runtimeDirectories are the entries of RUNTIME_DIRECTORY that are a pool's.
func runtimeDirectories(getenv func(string) string) []string {
	var dirs []string
	for d := range strings.SplitSeq(getenv("RUNTIME_DIRECTORY"), ":") {
		d = filepath.Clean(d)
		if filepath.IsAbs(d) && filepath.Base(filepath.Dir(d)) == "fugue" {
			dirs = append(dirs, d)
		}
	}
	return dirs
}

// OwnDir is the directory of the pool whose unit we are a command of, from
// RUNTIME_DIRECTORY, or empty.
func OwnDir(getenv func(string) string) string {
	if dirs := runtimeDirectories(getenv); len(dirs) > 0 {
		return dirs[0]
	}
	return ""
}

// makeDir creates a pool's directory and the one above it, and refuses one in
// which somebody else could put a socket of their own. It follows symlinks:
// with DynamicUser= systemd makes the directory one.
func makeDir(dir string) error {
	for _, d := range []string{filepath.Dir(dir), dir} {
		err := os.Mkdir(d, 0o755)
		if err == nil {
			err = os.Chmod(d, 0o755) // whatever the umask: clients of other users pass through
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("create runtime directory: %w", err)
		}
		if err := checkDir(d); err != nil {
			return err
		}
	}
	return nil
}

func checkDir(d string) error {
	var st unix.Stat_t
	if err := unix.Stat(d, &st); err != nil {
		return fmt.Errorf("look at runtime directory %s: %w", d, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return fmt.Errorf("runtime directory %s is not a directory: remove it", d)
	}
	if st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("runtime directory %s belongs to uid %d, who could take the pool over: chown or remove it", d, st.Uid)
	}
	if st.Mode&0o022 != 0 && st.Mode&unix.S_ISVTX == 0 {
		return fmt.Errorf("runtime directory %s can be written by others (mode %04o): chmod 755 it", d, st.Mode&0o7777)
	}
	return nil
}
