package watch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// read takes the events of one read(2) apart, see inotify(7).
func (w *Watcher) read(b []byte) {
	for len(b) >= unix.SizeofInotifyEvent {
		wd := int32(binary.NativeEndian.Uint32(b))
		what := binary.NativeEndian.Uint32(b[4:])
		end := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(b[12:]))
		if end > len(b) {
			return
		}
		name, _, _ := bytes.Cut(b[unix.SizeofInotifyEvent:end], []byte{0})
		b = b[end:]
		if what&unix.IN_Q_OVERFLOW != 0 {
			w.overflow()
			continue
		}
		if dir, known := w.dirs[wd]; known {
			w.event(wd, what, dir, string(name))
		}
	}
}

// overflow looks at all again: nobody knows what was not told.
func (w *Watcher) overflow() {
	for _, dir := range w.options.Dirs {
		if _, err := w.add(dir); err != nil {
			w.problem(err)
		}
		w.note(dir)
	}
}

func (w *Watcher) event(wd int32, what uint32, dir, name string) {
	switch {
	case what&unix.IN_IGNORED != 0:
		delete(w.dirs, wd)
	case what&(unix.IN_DELETE_SELF|unix.IN_MOVE_SELF) != 0:
		// Of one below another its parent tells more.
		if slices.ContainsFunc(w.options.Dirs, func(root string) bool { return filepath.Clean(root) == dir }) {
			w.forget(dir)
			w.note(dir)
			w.problem(fmt.Errorf("directory %s is gone, and not watched any more until the next reload", dir))
		}
	case what&unix.IN_ISDIR != 0:
		w.dirEvent(what, filepath.Join(dir, name), name)
	case what&unix.IN_CREATE != 0:
		// Who creates a file closes it, too, and that is told. Not so a link.
		info, err := os.Lstat(filepath.Join(dir, name))
		if err == nil && (info.Mode()&fs.ModeSymlink != 0 || info.Mode().IsRegular() && links(info) > 1) {
			w.note(filepath.Join(dir, name))
		}
	default:
		w.note(filepath.Join(dir, name))
	}
}

func (w *Watcher) dirEvent(what uint32, path, name string) {
	switch {
	case ignoredDir(name):
	case what&unix.IN_MOVED_FROM != 0:
		w.forget(path)
		w.note(path)
	case what&(unix.IN_CREATE|unix.IN_MOVED_TO) != 0:
		// What came into it before it was watched has no event.
		files, err := w.add(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			w.problem(err)
		}
		for _, file := range files {
			w.note(file)
		}
	}
}

func ignoredDir(name string) bool {
	return slices.Contains([]string{".git", ".hg", ".svn", ".jj", "node_modules", "__pycache__"}, name)
}

// ignoredFile knows what editors and interpreters put beside a file: vim's swap
// files and its 4913, backups, locks of emacs, compiled modules.
func ignoredFile(name string) bool {
	switch {
	case name == "4913", strings.HasSuffix(name, "~"), strings.HasPrefix(name, ".#"), strings.HasSuffix(name, ".pyc"):
		return true
	case strings.HasPrefix(name, "#") && strings.HasSuffix(name, "#"):
		return true
	}
	ext := filepath.Ext(name)
	return strings.HasPrefix(name, ".") && len(ext) == 4 && strings.HasPrefix(ext, ".sw")
}

func links(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Nlink) //nolint:unconvert // its size differs between machines
	}
	return 1
}
