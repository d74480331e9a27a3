package cgroup

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Remove removes the cgroup of a worker and those that were made in it, once
// nothing lives in them; for that it waits at most so long. That it is gone
// already is no error.
func (b Base) Remove(path string, wait time.Duration) error {
	dir, err := b.dirOf(path)
	if err == nil {
		if err = removeTree(dir); errors.Is(err, unix.EBUSY) && wait > 0 {
			if err = awaitEmpty(dir, time.Now().Add(wait)); err == nil {
				err = removeTree(dir)
			}
		}
	}
	if err != nil && !gone(err) {
		return fmt.Errorf("remove the cgroup %s: %w", path, err)
	}
	return nil
}

// removeTree removes the cgroups below one, and it; all but what has processes.
func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs error
	for _, e := range entries {
		if e.IsDir() {
			errs = errors.Join(errs, removeTree(filepath.Join(dir, e.Name())))
		}
	}
	if err := unix.Rmdir(dir); err != nil && !gone(err) {
		return errors.Join(errs, &os.PathError{Op: "rmdir", Path: dir, Err: err})
	}
	return nil
}

// awaitEmpty waits for the kernel to say that nothing lives in a cgroup and
// those below it. One that is killed has ended before that is said.
func awaitEmpty(dir string, deadline time.Time) error {
	fd, err := unix.Open(filepath.Join(dir, "cgroup.events"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), "cgroup.events")
	defer f.Close()
	for {
		// Read first: a change after it is what wakes the poll.
		b, err := io.ReadAll(io.NewSectionReader(f, 0, 4096))
		if err != nil {
			return err
		}
		if strings.Contains("\n"+string(b), "\npopulated 0") {
			return nil
		}
		left := time.Until(deadline)
		if left <= 0 {
			return unix.EBUSY
		}
		_, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLPRI}}, int(left/time.Millisecond)+1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
