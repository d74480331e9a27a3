package master

import (
	"fmt"
	"hash/fnv"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"fugue/internal/config"
	"fugue/internal/release"
	"fugue/internal/tmpdir"
)

// tmpTime is how long the end of a master may take for what its last workers
// have left in their temporary directories; its successor removes the rest.
const tmpTime = 5 * time.Second

// cleaning counts the temporary directories that are being removed.
type cleaning struct{ sync.WaitGroup }

// wait waits until they are gone, or it has taken long enough.
func (c *cleaning) wait() {
	done := make(chan struct{})
	go func() {
		c.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(tmpTime):
	}
}

// tmpBase is the directory for those of this pool. In a directory that others
// use too its name is the pool's alone: there may be another of that name, in
// another runtime directory, or in one of the same path in a container.
func (h *host) tmpBase(where string) tmpdir.Base {
	dir := h.hold.Dir()
	if where == config.TmpRuntime {
		return tmpdir.At(filepath.Join(dir, "tmp"))
	}
	var st unix.Stat_t
	_ = unix.Stat(dir, &st)
	sum := fnv.New32a()
	fmt.Fprintf(sum, "%d %s", st.Dev, dir)
	return tmpdir.At(filepath.Join(where, fmt.Sprintf("fugue-%s-%08x", h.name, sum.Sum32())))
}

// makeTmp makes a worker's temporary directory; "" where it has none.
func (h *host) makeTmp(rel *release.Release, slot int) (string, error) {
	if rel.TmpDirectory == "" {
		return "", nil
	}
	return h.tmpBase(rel.TmpDirectory).Make(slot, rel.UID, rel.GID)
}

// thenRemove tells of a worker's end, and removes its temporary directory. The
// next worker does not wait for that, only the end of this master.
func (h *host) thenRemove(log *logrus.Entry, tmp string, exited func()) func() {
	if tmp == "" {
		return exited
	}
	return func() {
		h.cleaning.Add(1)
		defer h.cleaning.Done()
		exited()
		h.removeTmp(log, tmp)
	}
}

func (h *host) removeTmp(log *logrus.Entry, path string) {
	if path == "" {
		return
	}
	if err := tmpdir.Remove(path); err != nil {
		log.Warn(err)
	}
}

// removeOldTmp removes the temporary directories of workers that ended while
// there was no master to see it. As long as there may be some that nobody
// knows, it removes nothing: those use theirs. What is listed here was made
// before any worker of ours.
func (h *host) removeOldTmp(in Inheritance, cfg *config.Config) {
	if len(in.Strangers) > 0 || in.Unusable != "" {
		return
	}
	kept, bases := map[string]bool{}, map[tmpdir.Base]bool{h.tmpBase(config.TmpRuntime): true}
	add := func(where string) {
		if where != "" {
			bases[h.tmpBase(where)] = true
		}
	}
	if cfg != nil && cfg.TmpDirectory != config.TmpRuntime {
		if dir, err := filepath.EvalSymlinks(cfg.TmpDirectory); err == nil {
			add(dir)
		}
	}
	if s := in.State; s != nil {
		for _, g := range s.Generations {
			add(g.Release.TmpDirectory)
		}
		living := s.living()
		for _, w := range s.Workers {
			if w.Memo.Tmp != "" {
				bases[tmpdir.At(filepath.Dir(w.Memo.Tmp))] = true
				kept[w.Memo.Tmp] = slices.Contains(living, w.PID)
			}
		}
	}
	for base := range bases {
		old, err := base.Others(kept)
		if err != nil {
			h.settings.Log.Warnf("%v", err)
		}
		for _, path := range old {
			h.cleaning.Go(func() { h.removeTmp(logrus.NewEntry(h.settings.Log), path) })
		}
	}
}
