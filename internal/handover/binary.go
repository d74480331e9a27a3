package handover

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Binary is the path of the binary that a handover execs: the one that this
// process was started by. Call it with os.Args[0] at the start of the program,
// before anything changes the directory or PATH.
//
// It is absolute, and its symlinks stay: a deployment that moves
// /opt/app/current, or a package upgrade that renames a new file over the old,
// is just what is to be found at the instant of the exec. The running image,
// /proc/self/exe, would be the old one for ever; its link says "(deleted)" then.
//
// argv[0] is whatever the starter wanted (ExecStart=@, exec -a). It counts only
// if it leads to the file that runs here; else the image's own path is taken,
// as it is for a process that EnsureBlocked of package proc started anew by
// that path: argv[0] is kept there, and still leads to it.
func Binary(arg0 string) (string, error) {
	link, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return "", fmt.Errorf("find the own binary: %w", err)
	}
	image := trimDeleted(link)
	if path, err := lookPath(arg0); err == nil && (sameFile(path, "/proc/self/exe") || resolvesTo(path, image)) {
		return path, nil
	}
	if info, err := os.Stat(image); err != nil {
		return "", fmt.Errorf("find the own binary: started as %q from %s: %w: start it by a path that stays", arg0, link, err)
	} else if !info.Mode().IsRegular() {
		return "", fmt.Errorf("find the own binary: %s is not a file: start it by a path that stays", image)
	}
	return image, nil
}

// lookPath finds a word as the shell does, from the directory of now.
func lookPath(arg0 string) (string, error) {
	path, err := exec.LookPath(arg0)
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return "", err
	}
	return filepath.Abs(path)
}

func sameFile(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// resolvesTo holds for a path whose file was replaced since the start.
func resolvesTo(path, image string) bool {
	real, err := filepath.EvalSymlinks(path)
	return err == nil && real == image
}

// trimDeleted takes away what the kernel adds to the link of an image whose
// name is gone (proc_pid_exe(5)). A file may really end so: then it is there.
func trimDeleted(link string) string {
	if _, err := os.Lstat(link); err == nil {
		return link
	}
	return strings.TrimSuffix(link, " (deleted)")
}
