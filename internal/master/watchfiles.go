package master

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"fugue/internal/config"
	"fugue/internal/watch"
)

// watching is a watch of files, and what it was begun with.
type watching struct {
	*watch.Watcher
	dirs   []string
	ignore []string // patterns
}

// changedFiles: somebody has worked on what runs here. What is under way is
// turned back, so that a mistake can be mended while it still starts.
type changedFiles struct{ paths []string }

func (f changedFiles) apply(m *Master, now time.Time) {
	const shown = 3
	text := strings.Join(f.paths[:min(shown, len(f.paths))], ", ")
	if more := len(f.paths) - shown; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	m.log.Infof("changed: %s", text)
	m.reload(now, true, false)
}

// checkWatch refuses what could not be watched.
func (h *host) checkWatch(cfg *config.Config) error {
	if len(cfg.Watch) > 0 && h.unit != "" {
		return cfg.Errorf("watch", "watch is for development: under systemd a deploy that is half copied would be rolled out; use fugue reload")
	}
	for i, dir := range cfg.Watch {
		info, err := os.Stat(dir)
		if err == nil && !info.IsDir() {
			err = errors.New("it is not a directory")
		}
		if err != nil {
			return cfg.Errorf(fmt.Sprintf("watch[%d]", i), "watch %s: %w", dir, err)
		}
	}
	return nil
}

// watchFiles watches what the configuration says. A watch that goes on is left
// alone: it may have changes that it has not told yet.
func (h *host) watchFiles(cfg *config.Config) {
	w := &watching{dirs: cfg.Watch, ignore: h.ownFiles(cfg)}
	if old := h.watching; old != nil && slices.Equal(old.dirs, w.dirs) && slices.Equal(old.ignore, w.ignore) && old.Whole() {
		return
	}
	h.stopWatching()
	if len(cfg.Watch) == 0 {
		return
	}
	var err error
	w.Watcher, err = watch.Start(watch.Options{
		Dirs:    w.dirs,
		Ignore:  w.isOwn,
		Changed: func(paths []string) { h.report(changedFiles{paths}) },
		Problem: func(err error) { h.settings.Log.Warn(err) },
	})
	if err != nil {
		h.settings.Log.Errorf("%v; changes there are not seen", err)
		return
	}
	h.watching = w
	h.settings.Log.Infof("watching %s for changes", strings.Join(w.dirs, ", "))
}

func (h *host) stopWatching() {
	if h.watching != nil {
		h.watching.Close()
		h.watching = nil
	}
}

// ownFiles are patterns for what the pool itself writes: it must not reload
// because it has reloaded.
func (h *host) ownFiles(cfg *config.Config) []string {
	own := []string{filepath.Join(h.hold.Dir(), "*")}
	add := func(path string) {
		if path != "" {
			own = append(own, path, path+".*") // and what it is rotated to
		}
	}
	for _, o := range []config.Output{cfg.Log.Stdout, cfg.Log.Stderr} {
		pattern, _ := o.Path.Expand(func(config.Placeholder) (string, error) { return "*", nil })
		add(pattern)
	}
	if filepath.IsAbs(cfg.Log.Master) {
		add(cfg.Log.Master)
	}
	add(cfg.PIDFile)
	if cfg.PIDFile != "" { // on its way to its place
		own = append(own, filepath.Join(filepath.Dir(cfg.PIDFile), "."+filepath.Base(cfg.PIDFile)+".*"))
	}
	for _, l := range cfg.Listeners {
		if strings.HasPrefix(l.Stream+l.Datagram, "/") {
			own = append(own, l.Stream+l.Datagram)
		}
	}
	return own
}

func (w *watching) isOwn(path string) bool {
	return slices.ContainsFunc(w.ignore, func(pattern string) bool {
		ok, _ := filepath.Match(pattern, path)
		return ok
	})
}
