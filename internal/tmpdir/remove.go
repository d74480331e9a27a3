package tmpdir

import (
	"errors"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// What bounds the work on a directory into which somebody goes on writing:
// another process of the same user.
const (
	mostPasses = 100
	mostMoves  = 10_000_000
)

// removeAll removes what is called name in a directory, and all below it. A
// directory within that is not empty is moved up before it is emptied: a tree
// of any depth takes three descriptors, and no path that is longer than a name.
func removeAll(dir int, name string) error {
	gone, err := removeOne(dir, name)
	if gone || err != nil {
		return err
	}
	fd, err := open(dir, name)
	if err != nil {
		return ignoreGone(err)
	}
	t := tree{top: fd}
	defer t.top.Close()
	for range mostPasses {
		left, err := entries(t.top)
		for len(left) > 0 && err == nil && t.moves < mostMoves {
			var more []string
			more, err = t.flatten(left[0])
			left = append(left[1:], more...)
		}
		if err != nil {
			return err
		}
		if gone, err := removeOne(dir, name); gone || err != nil {
			return err
		}
	}
	return unix.ENOTEMPTY
}

// tree is a directory that is being emptied.
type tree struct {
	top   *directory
	moves int
}

// flatten removes an entry of the top, and tells what has been moved up from it.
func (t *tree) flatten(name string) (more []string, err error) {
	top := t.top.fd
	gone, err := removeOne(top, name)
	if gone || err != nil {
		return nil, err
	}
	dir, err := open(top, name)
	if err != nil {
		return nil, ignoreGone(err)
	}
	defer dir.Close()
	names, err := entries(dir)
	if err != nil {
		return nil, err
	}
	at := dir.fd
	for _, inner := range names {
		gone, err := removeOne(at, inner)
		if err != nil {
			return more, err
		}
		if gone {
			continue
		}
		if d, err := open(at, inner); err == nil { // to move it takes the right to write to it
			_ = d.Close()
		}
		t.moves++
		to := ".fugue-" + strconv.Itoa(t.moves)
		switch err := unix.Renameat(at, inner, top, to); {
		case err == nil:
			more = append(more, to)
		case errors.Is(err, unix.EEXIST), errors.Is(err, unix.ENOTEMPTY), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ENOENT):
			// That name is taken, or this one gone: the next pass will see.
		default:
			return more, err
		}
	}
	_, err = removeOne(top, name)
	return more, err
}

// removeOne removes what is no directory, or an empty one; gone is false for
// one that is not.
func removeOne(dir int, name string) (gone bool, err error) {
	err = unix.Unlinkat(dir, name, 0)
	if errors.Is(err, unix.EISDIR) || errors.Is(err, unix.EPERM) {
		err = unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
	}
	if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) {
		return false, nil
	}
	err = ignoreGone(err)
	return err == nil, err
}

// directory is one that is open.
type directory struct {
	*os.File
	fd int
}

// open opens a directory, and makes one that its owner has closed to himself
// ours to read and to write.
func open(dir int, name string) (*directory, error) {
	fd, err := unix.Openat(dir, name, dirFlags, 0)
	if errors.Is(err, unix.EACCES) && unix.Geteuid() != 0 {
		// Of our own user, in its directory: it may point elsewhere by now, to
		// something of the same user.
		if err = unix.Fchmodat(dir, name, 0o700, 0); err == nil {
			fd, err = unix.Openat(dir, name, dirFlags, 0)
		}
	}
	if err != nil {
		return nil, err
	}
	_ = unix.Fchmod(fd, 0o700)
	return &directory{os.NewFile(uintptr(fd), name), fd}, nil
}

func entries(f *directory) ([]string, error) {
	if _, err := f.Seek(0, 0); err != nil {
		return nil, err
	}
	return f.Readdirnames(-1)
}

func ignoreGone(err error) error {
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}
