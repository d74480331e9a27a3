package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"golang.org/x/sys/unix"
)

const systemdPath = "/usr/lib/systemd/systemd"

// becomeInit runs as PID 1 of the new namespaces and ends as systemd.
func becomeInit() int {
	// unshare and the exec must happen on one thread: namespaces are a thread's.
	runtime.LockOSThread()
	err := func() error {
		line, err := io.ReadAll(os.Stdin)
		if err != nil {
			return err
		}
		var s spec
		if err := json.Unmarshal(line, &s); err != nil {
			return fmt.Errorf("read the spec: %w", err)
		}
		if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
			return fmt.Errorf("unshare the cgroup namespace: %w", err)
		}
		if err := s.enterRoot(); err != nil {
			return err
		}
		if err := unix.Sethostname([]byte("sandbox")); err != nil {
			return fmt.Errorf("set the host name: %w", err)
		}
		// Nothing on the console exists inside; the journal takes over early.
		argv := []string{systemdPath, "--log-target=journal-or-kmsg", "--show-status=no"}
		return fmt.Errorf("execute %s: %w", systemdPath, unix.Exec(systemdPath, argv, s.Env))
	}()
	fmt.Fprintln(os.Stderr, "e2e: boot:", err)
	return 1
}

type mount struct {
	source, target, kind string
	flags                uintptr
	data                 string
}

func (m mount) do() error {
	if err := unix.Mount(m.source, m.target, m.kind, m.flags, m.data); err != nil {
		return fmt.Errorf("mount %s on %s: %w", m.source, m.target, err)
	}
	return nil
}

// enterRoot builds the sandbox's file system and makes it /.
func (s spec) enterRoot() error {
	layers, mnt := filepath.Join(s.Dir, "layers"), filepath.Join(s.Dir, "mnt")
	upper, work := filepath.Join(layers, "upper"), filepath.Join(layers, "work")
	steps := []func() error{
		// Or what follows would appear on the machine.
		mount{"none", "/", "", unix.MS_REC | unix.MS_PRIVATE, ""}.do,
		mount{"tmpfs", layers, "tmpfs", 0, "mode=755"}.do,
		func() error { return errors.Join(os.Mkdir(upper, 0o755), os.Mkdir(work, 0o755)) },
		mount{
			"overlay", mnt, "overlay", 0,
			"lowerdir=" + s.Root + ",upperdir=" + upper + ",workdir=" + work,
		}.do,
		func() error { return s.mountInside(mnt) },
		func() error { return s.writeFiles(mnt) },
		func() error { return unix.Chdir(mnt) },
		// Both names the same: the old root ends up on top, and is let go.
		func() error { return unix.PivotRoot(".", ".") },
		func() error { return unix.Unmount(".", unix.MNT_DETACH) },
		func() error { return unix.Chdir("/") },
	}
	for i, step := range steps {
		if err := step(); err != nil {
			return fmt.Errorf("build the root, step %d: %w", i+1, err)
		}
	}
	return nil
}

func (s spec) mountInside(mnt string) error {
	at := func(path string) string { return filepath.Join(mnt, path) }
	const safe = unix.MS_NOSUID | unix.MS_NODEV
	mounts := []mount{
		{"proc", at("proc"), "proc", safe | unix.MS_NOEXEC, ""},
		{"sysfs", at("sys"), "sysfs", safe | unix.MS_NOEXEC | unix.MS_RDONLY, ""},
		{"cgroup2", at("sys/fs/cgroup"), "cgroup2", safe | unix.MS_NOEXEC, ""},
		{"tmpfs", at("run"), "tmpfs", safe, "mode=755"},
		{"tmpfs", at("tmp"), "tmpfs", safe, "mode=1777"},
		{"tmpfs", at("dev"), "tmpfs", unix.MS_NOSUID, "mode=755"},
		{"devpts", at("dev/pts"), "devpts", unix.MS_NOSUID | unix.MS_NOEXEC, "newinstance,mode=620,ptmxmode=666"},
		{"tmpfs", at("dev/shm"), "tmpfs", safe, "mode=1777"},
		{filepath.Join(s.Dir, "t"), at("t"), "", unix.MS_BIND, ""},
		{filepath.Join(s.Dir, "u"), at("u"), "", unix.MS_BIND, ""},
	}
	for _, m := range mounts {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return err
		}
		if err := m.do(); err != nil {
			return err
		}
	}
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		node := at("dev/" + name)
		if err := os.WriteFile(node, nil, 0o666); err != nil {
			return err
		}
		if err := (mount{"/dev/" + name, node, "", unix.MS_BIND, ""}).do(); err != nil {
			return err
		}
	}
	for link, target := range map[string]string{
		"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1",
		"stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx", "log": "/run/systemd/journal/dev-log",
	} {
		if err := os.Symlink(target, at("dev/"+link)); err != nil {
			return err
		}
	}
	return nil
}

// writeFiles puts the binaries and the files of the boot into the overlay.
func (s spec) writeFiles(mnt string) error {
	for to, from := range s.Install {
		if err := copyFile(filepath.Join(mnt, to), from); err != nil {
			return err
		}
	}
	for path, target := range s.Links {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(mnt, path)), 0o755); err != nil {
			return err
		}
		if err := os.Symlink(target, filepath.Join(mnt, path)); err != nil {
			return err
		}
	}
	paths := make([]string, 0, len(s.Files))
	for path := range s.Files {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	for _, path := range paths {
		to := filepath.Join(mnt, path)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(to, []byte(s.Files[path]), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// copyFile replaces to by a new file, as a package upgrade does: who runs the
// old one keeps it.
func copyFile(to, from string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	next := to + ".new"
	dst, err := os.OpenFile(next, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	if err := errors.Join(err, dst.Close()); err != nil {
		return err
	}
	return os.Rename(next, to)
}
