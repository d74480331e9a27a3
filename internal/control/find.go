package control

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Finder knows where the pools of this machine and this user live.
type Finder struct {
	Roots    []string      // directories with one directory a pool, the first found wins
	Etc      string        // directory of NAME.toml files, each of which makes a pool known
	Patience time.Duration // for the first byte of an answer; 0 means 5 s
}

// Entry is a pool that a Finder found.
type Entry struct {
	Name    string
	Dir     string // "" for one that is only known by its config
	Running bool
	PID     int   // of its master, 0 if not running or not told
	Err     error // why it could not be looked at, from Pools only
}

// NewFinder looks where Dir puts things, for any euid: the machine's pools, the
// user's, and before both those of RUNTIME_DIRECTORY (in ExecReload=).
func NewFinder(getenv func(string) string, euid int) Finder {
	var roots []string
	for _, d := range runtimeDirectories(getenv) {
		roots = append(roots, filepath.Dir(d))
	}
	places := []string{systemRoot}
	if xdg := getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(xdg) {
		places = append(places, filepath.Join(xdg, "fugue"))
	}
	if euid != 0 {
		slices.Reverse(places)
	}
	for _, d := range places {
		if !slices.Contains(roots, d) {
			roots = append(roots, d)
		}
	}
	return Finder{Roots: roots, Etc: systemEtc}
}

// Find looks for one pool. A pool that runs is preferred to one of the same
// name that does not. It is an *Error with ExitNoPool where there is none.
func (f Finder) Find(name string) (Entry, error) {
	if err := CheckName(name); err != nil {
		return Entry{}, err
	}
	var found *Entry
	for _, root := range f.Roots {
		dir := filepath.Join(root, name)
		fi, err := os.Stat(dir)
		if errors.Is(err, fs.ErrPermission) {
			return Entry{}, Errorf(ExitDenied, "look for pool %s: %w", name, err)
		}
		if err != nil || !fi.IsDir() {
			continue
		}
		e, err := look(name, dir)
		if err != nil {
			return Entry{}, err
		}
		if e.Running {
			return e, nil
		}
		if found == nil {
			found = &e
		}
	}
	if found != nil {
		return *found, nil
	}
	if f.Etc != "" {
		if _, err := os.Stat(filepath.Join(f.Etc, name+".toml")); err == nil {
			return Entry{Name: name}, nil
		}
	}
	return Entry{}, Errorf(ExitNoPool, "no such pool: %s", name)
}

// Pools are all the pools found, by name. One that may not be looked at is
// among them, and hides no other.
func (f Finder) Pools() []Entry {
	var names []string
	for _, root := range f.Roots {
		names = append(names, entries(root, func(e fs.DirEntry) (string, bool) {
			return e.Name(), e.Type()&^(fs.ModeDir|fs.ModeSymlink) == 0 && e.Type() != 0
		})...)
	}
	if f.Etc != "" {
		names = append(names, entries(f.Etc, func(e fs.DirEntry) (string, bool) {
			return strings.CutSuffix(e.Name(), ".toml")
		})...)
	}
	slices.Sort(names)
	var all []Entry
	for _, name := range slices.Compact(names) {
		e, err := f.Find(name)
		switch {
		case err == nil:
			all = append(all, e)
		case exitOf(err) != ExitNoPool: // that one ended while we looked
			all = append(all, Entry{Name: name, Err: err})
		}
	}
	return all
}

// entries are the names in a directory that keep takes and that can be a pool's.
func entries(dir string, keep func(fs.DirEntry) (string, bool)) []string {
	list, _ := os.ReadDir(dir) // one that is not there has no pools
	var names []string
	for _, e := range list {
		if name, ok := keep(e); ok && CheckName(name) == nil {
			names = append(names, name)
		}
	}
	return names
}

func look(name, dir string) (Entry, error) {
	running, err := held(dir)
	if err != nil {
		return Entry{}, err
	}
	e := Entry{Name: name, Dir: dir, Running: running}
	if running {
		e.PID = signature(dir)
	}
	return e, nil
}

// Dial finds a running pool and returns a client for it: an *Error with
// ExitNotRunning or ExitNoPool where it cannot.
func (f Finder) Dial(name string) (*Client, error) {
	e, err := f.Find(name)
	if err != nil {
		return nil, err
	}
	if !e.Running {
		return nil, Errorf(ExitNotRunning, "pool %s is not running", name)
	}
	return newClient(e, f.patience()), nil
}

func (f Finder) patience() time.Duration {
	if f.Patience > 0 {
		return f.Patience
	}
	return 5 * time.Second
}

// String is for error messages and lists.
func (e Entry) String() string {
	if e.PID > 0 {
		return fmt.Sprintf("%s (pid %d)", e.Name, e.PID)
	}
	return e.Name
}
