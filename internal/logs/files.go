package logs

import (
	"errors"
	"maps"
	"slices"
	"sync"
)

// Files are the log files that workers' output is relayed to: each is open
// once, for as long as a worker needs it.
type Files struct {
	// A worker that is started and one whose output has ended meet here.
	mu   sync.Mutex
	open map[string]*File
}

// Take gives the file of a path, for one more user. The rights are those of
// the latest.
func (fs *Files) Take(path string, r Rights) (*File, error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	f := fs.open[path]
	if f == nil {
		var err error
		if f, err = OpenFile(path, r); err != nil {
			return nil, err
		}
		fs.put(f)
	}
	f.entitle(r)
	f.users++
	return f, nil
}

func (fs *Files) put(f *File) {
	if fs.open == nil {
		fs.open = map[string]*File{}
	}
	fs.open[f.path] = f
}

// Leave ends what Take began.
func (fs *Files) Leave(f *File) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if f.users--; f.users == 0 {
		delete(fs.open, f.path)
		_ = f.Close()
	}
}

// Reopen opens all of them again, and gives the paths of those that were.
func (fs *Files) Reopen() (paths []string, err error) {
	fs.mu.Lock()
	open := maps.Clone(fs.open)
	fs.mu.Unlock()
	for _, path := range slices.Sorted(maps.Keys(open)) {
		if e := open[path].Reopen(); e != nil {
			err = errors.Join(err, e)
			continue
		}
		paths = append(paths, path)
	}
	return paths, err
}

// Keep gives descriptors of the files that are open, close-on-exec, for
// another image to Resume with: it writes on where a file is now, whatever its
// path has become.
func (fs *Files) Keep() (kept map[string]int, err error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	kept = map[string]int{}
	for path, f := range fs.open {
		fd, err := f.dup()
		if err != nil {
			Drop(kept)
			return nil, err
		}
		kept[path] = fd
	}
	return kept, nil
}

// Resume takes over what Keep gave. Each is Taken once for every user, and
// nobody else's is left when Settle is called.
func (fs *Files) Resume(kept map[string]int) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for path, fd := range kept {
		f := &File{path: path, rights: OurRights()}
		f.exchange(fd)
		fs.put(f)
	}
}

// Settle closes what nobody has taken.
func (fs *Files) Settle() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for path, f := range fs.open {
		if f.users == 0 {
			delete(fs.open, path)
			_ = f.Close()
		}
	}
}

// Drop closes what Keep gave, where no other image came.
func Drop(kept map[string]int) {
	for _, fd := range kept {
		closeAll(fd)
	}
}
