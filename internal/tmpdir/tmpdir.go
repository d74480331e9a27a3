// Package tmpdir makes a worker's private directory for temporary files, and
// removes it when the worker is gone.
//
// What is in such a directory is made by a worker, and removed by a master that
// may be root: every step goes by the descriptor of the directory above it and
// follows no symlink, and the depth of a tree costs no descriptors. The
// directories of one pool are in one that nobody else can write, so whatever
// is found there is the pool's own.
package tmpdir

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

const dirFlags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC

// Trusted says what is wrong with a directory in which a pool is to keep its
// own: somebody else could put another in its place.
func Trusted(parent string) error {
	var st unix.Stat_t
	if err := unix.Stat(parent, &st); err != nil {
		return err
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return unix.ENOTDIR
	case st.Uid != 0 && int(st.Uid) != os.Geteuid():
		return fmt.Errorf("it belongs to uid %d, who could exchange what is in it", st.Uid)
	case st.Mode&0o022 != 0 && st.Mode&unix.S_ISVTX == 0:
		return fmt.Errorf("others can write to it (mode %04o): chmod 755 or 1777 it", st.Mode&0o7777)
	}
	return nil
}

// A Base is the directory of one pool, in a directory that is Trusted.
type Base struct{ path string }

// At is the base of that path.
func At(path string) Base { return Base{path} }

// open gives the descriptor of the base, which has to be ours alone.
func (b Base) open() (int, error) {
	fd, err := unix.Open(b.path, dirFlags, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: b.path, Err: err}
	}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil && (int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0) {
		err = fmt.Errorf("%s is not fugue's own (uid %d, mode %04o): remove it", b.path, st.Uid, st.Mode&0o7777)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// Make makes a directory of mode 0700 for the worker of a slot, owned by uid
// and gid; -1 are ours. It gives its path.
func (b Base) Make(slot, uid, gid int) (string, error) {
	name := strconv.Itoa(slot) + "." + rand.Text()[:8]
	var err error
	for range 5 { // it may be removed, empty, between any two steps: see Remove
		if err = b.make(name, uid, gid); !errors.Is(err, unix.ENOENT) {
			break
		}
	}
	if err != nil {
		return "", fmt.Errorf("make a temporary directory for worker %d: %w", slot, err)
	}
	return filepath.Join(b.path, name), nil
}

func (b Base) make(name string, uid, gid int) error {
	// 0711: workers pass through, and see nothing.
	err := unix.Mkdir(b.path, 0o711)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return &os.PathError{Op: "mkdir", Path: b.path, Err: err}
	}
	made := err == nil
	base, err := b.open()
	if err != nil {
		return err
	}
	defer unix.Close(base)
	if made { // whatever the umask
		if err := unix.Fchmod(base, 0o711); err != nil {
			return &os.PathError{Op: "chmod", Path: b.path, Err: err}
		}
	}
	path := filepath.Join(b.path, name)
	if err := unix.Mkdirat(base, name, 0o700); err != nil {
		return &os.PathError{Op: "mkdir", Path: path, Err: err}
	}
	fd, err := unix.Openat(base, name, dirFlags, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	err = unix.Fchmod(fd, 0o700)
	if err == nil && (uid >= 0 || gid >= 0) {
		err = unix.Fchown(fd, uid, gid)
	}
	if err != nil {
		_ = unix.Unlinkat(base, name, unix.AT_REMOVEDIR)
		return &os.PathError{Op: "chown", Path: path, Err: err}
	}
	return nil
}

// Remove removes a directory that Make made, with all that is in it, and the
// base with the last one. That it is gone already is no error.
func Remove(path string) error {
	b := At(filepath.Dir(path))
	base, err := b.open()
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove a temporary directory: %w", err)
	}
	defer unix.Close(base)
	if err := removeAll(base, filepath.Base(path)); err != nil {
		return fmt.Errorf("remove the temporary directory %s: %w", path, err)
	}
	_ = unix.Rmdir(b.path) // unless others are in it
	return nil
}

// Others lists the directories in the base but those that are kept, by path.
// Workers that nobody knows any more have left them.
func (b Base) Others(kept map[string]bool) ([]string, error) {
	fd, err := b.open()
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for old temporary directories: %w", err)
	}
	f := os.NewFile(uintptr(fd), b.path)
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("look for old temporary directories: %w", err)
	}
	var list []string
	for _, name := range names {
		if path := filepath.Join(b.path, name); !kept[path] {
			list = append(list, path)
		}
	}
	return list, nil
}
