package watch

import (
	"encoding/binary"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const guard = time.Minute

// tree is a directory with a.js, lib/b.js and node_modules, which is watched.
type tree struct {
	*testing.T
	dir     string
	changed chan []string
	problem chan error
	w       *Watcher
}

func start(t *testing.T) *tree {
	t.Helper()
	tr := &tree{T: t, dir: t.TempDir(), changed: make(chan []string, 64), problem: make(chan error, 64)}
	tr.write("a.js")
	for _, dir := range []string{"lib", ".git", "node_modules/x"} {
		tr.do(os.MkdirAll(tr.at(dir), 0o700))
	}
	tr.write("lib/b.js")
	tr.watch(tr.dir)
	return tr
}

func (t *tree) watch(dir string) {
	t.Helper()
	var err error
	t.w, err = Start(Options{
		Dirs: []string{dir}, Ignore: func(path string) bool { return strings.HasSuffix(path, ".log") },
		Changed: func(paths []string) { t.changed <- paths }, Problem: func(err error) { t.problem <- err },
	})
	t.do(err)
	t.Cleanup(t.w.Close)
}

func (t *tree) at(name string) string { return filepath.Join(t.dir, name) }

func (t *tree) do(err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (t *tree) write(names ...string) {
	t.Helper()
	for _, name := range names {
		t.do(os.WriteFile(t.at(name), []byte("x"), 0o600))
	}
}

// want awaits the news of these, and of nothing else.
func (t *tree) want(names ...string) {
	t.Helper()
	var got []string
	for end := time.After(guard); len(got) < len(names); {
		select {
		case paths := <-t.changed:
			for _, path := range paths {
				name, _ := filepath.Rel(t.dir, path)
				if !slices.Contains(got, name) {
					got = append(got, name)
				}
			}
		case <-end:
			t.Fatalf("got %v, want %v", got, names)
		}
	}
	if slices.Sort(got); !slices.Equal(got, names) {
		t.Errorf("got %v, want %v", got, names)
	}
}

func TestChanges(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		do   func(t *tree)
		want []string
	}{
		"written":      {func(t *tree) { t.write("a.js") }, []string{"a.js"}},
		"below":        {func(t *tree) { t.write("lib/b.js") }, []string{"lib/b.js"}},
		"new":          {func(t *tree) { t.write("c.js") }, []string{"c.js"}},
		"removed":      {func(t *tree) { t.do(os.Remove(t.at("a.js"))) }, []string{"a.js"}},
		"linked":       {func(t *tree) { t.do(os.Symlink("a.js", t.at("l"))) }, []string{"l"}},
		"hard link":    {func(t *tree) { t.do(os.Link(t.at("a.js"), t.at("l"))) }, []string{"l"}},
		"many at once": {func(t *tree) { t.write("a.js", "b.js", "c.js") }, []string{"a.js", "b.js", "c.js"}},
		"vim": {func(t *tree) {
			t.write("4913", ".a.js.swp", ".a.js.swx")
			t.do(os.Remove(t.at("4913")))
			t.do(os.Rename(t.at("a.js"), t.at("a.js~")))
			t.write("a.js")
			t.do(os.Remove(t.at("a.js~")))
		}, []string{"a.js"}},
		"by rename": {func(t *tree) {
			t.write("lib/.#b.js", "lib/#b.js#")
			t.do(os.Rename(t.at("lib/#b.js#"), t.at("lib/b.js")))
		}, []string{"lib/b.js"}},
		"new directory": {func(t *tree) {
			t.do(os.MkdirAll(t.at("x/y/z"), 0o700))
			t.write("x/y/z/d.js")
		}, []string{"x/y/z/d.js"}},
		"directory moved in": {func(t *tree) {
			away := t.TempDir()
			t.do(os.WriteFile(away+"/d.js", nil, 0o600))
			t.do(os.Rename(away, t.at("in")))
		}, []string{"in/d.js"}},
		"directory moved away": {func(t *tree) {
			away := t.TempDir() + "/lib"
			t.do(os.Rename(t.at("lib"), away))
			t.do(os.WriteFile(away+"/b.js", nil, 0o600)) // not ours any more
		}, []string{"lib"}},
		"directory removed": {func(t *tree) { t.do(os.RemoveAll(t.at("lib"))) }, []string{"lib/b.js"}},
		"directory renamed": {func(t *tree) {
			t.do(os.Rename(t.at("lib"), t.at("src")))
			t.want("lib", "src/b.js")
			t.write("src/b.js")
		}, []string{"src/b.js"}},
		"ignored": {func(t *tree) {
			t.do(os.MkdirAll(t.at("lib/__pycache__"), 0o700))
			t.do(os.MkdirAll(t.at("lib/node_modules"), 0o700))
			t.write(".git/index", "node_modules/x/i.js", "lib/__pycache__/b.pyc", "lib/node_modules/i.js", "run.log")
			t.write("z.js")
		}, []string{"z.js"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr := start(t)
			c.do(tr)
			tr.want(c.want...)
		})
	}
}

func TestThroughALink(t *testing.T) {
	t.Parallel()
	tr := start(t)
	tr.w.Close()
	link := t.TempDir() + "/current"
	tr.do(os.Symlink(tr.dir, link))
	tr.watch(link)
	tr.dir = link
	tr.write("lib/b.js")
	tr.want("lib/b.js")
}

func TestDirectoryIsGone(t *testing.T) {
	t.Parallel()
	tr := start(t)
	if !tr.w.Whole() {
		t.Error("it is not whole at first")
	}
	tr.do(os.RemoveAll(tr.dir))
	select {
	case err := <-tr.problem:
		if tr.w.Whole() || !strings.Contains(err.Error(), tr.dir+" is gone") {
			t.Error(err)
		}
	case <-time.After(guard):
		t.Fatal("nobody says so")
	}
}

func TestNoDirectory(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"/nowhere", "/etc/passwd"} {
		if w, err := Start(Options{Dirs: []string{dir}}); err == nil || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v, %v", dir, w, err)
		}
	}
}

// More than the kernel keeps for who does not read is told as a change of all.
func TestOverflow(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w, err := open(Options{Dirs: []string{dir}})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	late := filepath.Join(dir, "late")
	if err := os.Mkdir(late, 0o700); err != nil { // which is not told
		t.Fatal(err)
	}
	event := make([]byte, unix.SizeofInotifyEvent)
	binary.NativeEndian.PutUint32(event, ^uint32(0))
	binary.NativeEndian.PutUint32(event[4:], unix.IN_Q_OVERFLOW)
	w.read(event)
	if !w.changed[dir] || !slices.Contains(slices.Collect(maps.Values(w.dirs)), late) {
		t.Errorf("changed: %v, watched: %v", w.changed, w.dirs)
	}
}
