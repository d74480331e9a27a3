package release

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// access tells whether the worker's user may execute path, or enter it where it
// is a directory. path has no symlinks. It only says no where that is certain:
// the shim finds out the rest, by doing it.
func (m *maker) access(path string) error {
	if m.rel.UID < 0 && m.rel.GID < 0 {
		err := unix.Faccessat(unix.AT_FDCWD, path, unix.X_OK, unix.AT_EACCESS)
		if errors.Is(err, unix.EACCES) {
			return err
		}
		return nil
	}
	uid := m.rel.UID
	if uid < 0 {
		uid = os.Geteuid()
	}
	for p := path; ; p = filepath.Dir(p) {
		ok, err := mayExecute(p, uid, append([]int{m.rel.GID}, m.rel.Groups...))
		if err != nil {
			return err
		}
		if !ok && p == path {
			return fmt.Errorf("%w for uid %d", syscall.EACCES, uid)
		}
		if !ok {
			return fmt.Errorf("%w for uid %d in %s", syscall.EACCES, uid, p)
		}
		if p == "/" || p == "." {
			return nil
		}
	}
}

func mayExecute(path string, uid int, groups []int) (bool, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return false, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	bits := st.Mode & 0o111
	switch {
	case uid == 0:
		// CAP_DAC_OVERRIDE enters any directory, but executes only what
		// somebody may execute.
		return bits != 0 || st.Mode&unix.S_IFMT == unix.S_IFDIR, nil
	case int(st.Uid) == uid:
		return bits&0o100 != 0, nil
	}
	// An access control list may grant what the bits do not show.
	if n, err := unix.Getxattr(path, "system.posix_acl_access", nil); err == nil && n > 0 {
		return true, nil
	}
	if slices.Contains(groups, int(st.Gid)) {
		return bits&0o010 != 0, nil
	}
	return bits&0o001 != 0, nil
}
