// Package cgroup gives a worker a cgroup (version 2) of its own below that of a
// unit which systemd has delegated to us (Delegate=), with limits, and removes it
// when the worker is gone.
//
// Only what is empty is ever removed: rmdir(2) refuses any other cgroup, so no
// record of ours can be wrong about it. What is found under this package's names
// in a delegated cgroup is the pool's own.
package cgroup

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// prefix begins the names of workers' cgroups.
const prefix = "worker-"

// A Base is the cgroup of a unit.
type Base struct {
	Dir  string // in the file system
	Path string // as in /proc/PID/cgroup
	Self string // where below it this process is; empty: in the unit's itself
}

// Delegated reports whether systemd leaves what is below to us. It marks such a
// cgroup (user.delegate since systemd 251, trusted.delegate since 236); that one
// may write there means nothing, root always may, and a user may in all of those
// of his own manager.
func (b Base) Delegated() bool {
	if unix.Access(b.Dir, unix.W_OK) != nil { // read-only with ProtectControlGroups=
		return false
	}
	for _, name := range []string{"user.delegate", "trusted.delegate"} {
		var mark [8]byte
		if n, err := unix.Getxattr(b.Dir, name, mark[:]); err == nil {
			return string(mark[:n]) == "1"
		}
	}
	return false
}

// Make makes a cgroup for the worker of a slot. It gives its path, as in
// /proc/PID/cgroup.
func (b Base) Make(slot int, l Limits) (path string, err error) {
	name := prefix + strconv.Itoa(slot) + "." + rand.Text()[:8]
	dir := filepath.Join(b.Dir, name)
	if err = b.Enable(l.controllers()); err == nil {
		if err = os.Mkdir(dir, 0o755); err == nil {
			err = errors.Join(unix.Chmod(dir, 0o755), l.set(dir)) // whatever the umask
			if err != nil {
				_ = unix.Rmdir(dir)
			}
		}
	}
	if err != nil {
		return "", fmt.Errorf("make a cgroup for worker %d: %w", slot, err)
	}
	return b.Path + "/" + name, nil
}

// Open opens the directory of a cgroup that Make made.
func (b Base) Open(path string) (fd int, err error) {
	dir, err := b.dirOf(path)
	if err != nil {
		return -1, err
	}
	if fd, err = unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return -1, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	return fd, nil
}

// dirOf refuses paths that are not of this package's making.
func (b Base) dirOf(path string) (string, error) {
	name, ok := strings.CutPrefix(path, b.Path+"/")
	if !ok || !strings.HasPrefix(name, prefix) || strings.Contains(name, "/") {
		return "", fmt.Errorf("%q is not the cgroup of a worker of %s", path, b.Path)
	}
	return filepath.Join(b.Dir, name), nil
}

// Of is the worker's cgroup that a path is, or is in; empty for any other.
func (b Base) Of(path string) string {
	rest, ok := strings.CutPrefix(path, b.Path+"/")
	name, _, _ := strings.Cut(rest, "/")
	if !ok || !strings.HasPrefix(name, prefix) {
		return ""
	}
	return b.Path + "/" + name
}

// Within reports whether a path is a worker's cgroup, or below it.
func Within(path, worker string) bool {
	return worker != "" && (path == worker || strings.HasPrefix(path, worker+"/"))
}

// Others lists the cgroups of workers but those that are kept, by path.
func (b Base) Others(kept map[string]bool) ([]string, error) {
	entries, err := os.ReadDir(b.Dir)
	if err != nil {
		return nil, fmt.Errorf("look for old cgroups: %w", err)
	}
	var list []string
	for _, e := range entries {
		if path := b.Path + "/" + e.Name(); e.IsDir() && strings.HasPrefix(e.Name(), prefix) && !kept[path] {
			list = append(list, path)
		}
	}
	return list, nil
}

// OutOfMemory reports whether the kernel has killed a process of that cgroup for
// the memory that it took.
func (b Base) OutOfMemory(path string) bool {
	dir, err := b.dirOf(path)
	if err != nil {
		return false
	}
	n, err := counter(filepath.Join(dir, "memory.events"), "oom_kill")
	return err == nil && n > 0
}

// counter reads one of the lines "NAME NUMBER" of a file of the kernel's.
func counter(path, name string) (int, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if text, ok := strings.CutPrefix(line, name+" "); ok {
			return strconv.Atoi(strings.TrimSpace(text))
		}
	}
	return 0, fmt.Errorf("read %s: there is no %s", path, name)
}

// gone reports an error that says that a cgroup is not there any more.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV)
}
