// Package watch tells of changes to the files below some directories, for people
// who write what runs there. It is told by the kernel (inotify(7)) and never
// looks by itself, and it says many changes at once as one.
package watch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// How long nothing must have happened before what did is told, and how long it
// is held back at most: an editor writes one file in four steps, a checkout a
// thousand files in a second.
const (
	quiet = 100 * time.Millisecond
	most  = 2 * time.Second
)

// Options say what is watched and who is told. Both functions are called beside
// the caller, one call at a time.
type Options struct {
	Dirs []string // absolute
	// Ignore names files that are no change, by their absolute path, besides
	// those that nobody means: of version control, of package managers, of
	// editors on the way to the real one.
	Ignore func(path string) bool
	// Changed gets the paths, sorted.
	Changed func(paths []string)
	// Problem is told what cannot be watched any more.
	Problem func(error)
}

// Watcher watches until it is closed.
type Watcher struct {
	options Options
	fd      *os.File
	conn    int // fd's, by number
	dirs    map[int32]string
	changed map[string]bool
	first   time.Time // of what has not been told
	last    time.Time
	broken  atomic.Bool
}

// problem is one that the next Start may put right.
func (w *Watcher) problem(err error) {
	w.broken.Store(true)
	w.options.Problem(err)
}

const mask = unix.IN_CLOSE_WRITE | unix.IN_CREATE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_DELETE |
	unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR

// Start watches the directories and all below them, those of the future too. It
// does not follow symbolic links, except that a directory of Options may be one.
func Start(o Options) (*Watcher, error) {
	w, err := open(o)
	if err != nil {
		return nil, err
	}
	go w.run()
	return w, nil
}

func open(o Options) (*Watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch files: %w", explain(err))
	}
	w := &Watcher{options: o, fd: os.NewFile(uintptr(fd), "inotify"), conn: fd, dirs: map[int32]string{}, changed: map[string]bool{}}
	for _, dir := range o.Dirs {
		if _, err := w.add(dir); err != nil {
			_ = w.fd.Close()
			return nil, err
		}
	}
	return w, nil
}

// Whole reports that every directory of Options is watched still.
func (w *Watcher) Whole() bool { return !w.broken.Load() }

// Close ends the watch. What has not been told is not.
func (w *Watcher) Close() { _ = w.fd.Close() }

// explain says what helps.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.ENOSPC):
		return fmt.Errorf("%w: there are more directories than fs.inotify.max_user_watches", err)
	case errors.Is(err, unix.EMFILE):
		return fmt.Errorf("%w: there are more watchers than fs.inotify.max_user_instances", err)
	}
	return err
}

// add watches a directory and those below it; files are those that it found.
func (w *Watcher) add(root string) (files []string, err error) {
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil && path == root:
			return err
		case err != nil:
			return nil //nolint:nilerr // it went away meanwhile, which will be told
		case path != root && !d.IsDir():
			files = append(files, path)
			return nil
		case path != root && ignoredDir(d.Name()):
			return fs.SkipDir
		}
		return w.addOne(path, root)
	})
	if err == nil && len(w.dirs) > 0 {
		if info, lstat := os.Lstat(root); lstat == nil && info.Mode()&fs.ModeSymlink != 0 {
			return w.add(root + "/.") // WalkDir does not go through a link
		}
	}
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", root, err)
	}
	return files, nil
}

func (w *Watcher) addOne(path, root string) error {
	wd, err := unix.InotifyAddWatch(w.conn, path, mask)
	if err != nil && path != root && !errors.Is(err, unix.ENOSPC) {
		return nil // as above, or we may not
	}
	if err != nil {
		return explain(err)
	}
	w.dirs[int32(wd)] = filepath.Clean(path)
	return nil
}

// run reads what the kernel says; its waiting is the waiting for quiet, too.
func (w *Watcher) run() {
	buf := make([]byte, 64<<10)
	for {
		var deadline time.Time
		if len(w.changed) > 0 {
			deadline = w.last.Add(quiet)
			if end := w.first.Add(most); end.Before(deadline) {
				deadline = end
			}
		}
		_ = w.fd.SetReadDeadline(deadline)
		n, err := w.fd.Read(buf)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			w.tell()
		case err != nil:
			return // closed
		default:
			w.read(buf[:n])
		}
	}
}

func (w *Watcher) tell() {
	var paths []string
	for path := range w.changed {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	clear(w.changed)
	w.options.Changed(paths)
}

func (w *Watcher) note(path string) {
	if ignoredFile(filepath.Base(path)) || w.options.Ignore != nil && w.options.Ignore(path) {
		return
	}
	w.last = time.Now()
	if len(w.changed) == 0 {
		w.first = w.last
	}
	w.changed[path] = true
}

// forget ends the watch of a directory that was moved away, and of those below.
func (w *Watcher) forget(path string) {
	for wd, dir := range w.dirs {
		if dir == path || strings.HasPrefix(dir, path+"/") {
			_, _ = unix.InotifyRmWatch(w.conn, uint32(wd)) // gone already, at worst
			delete(w.dirs, wd)
		}
	}
}
