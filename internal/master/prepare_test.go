package master

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"fugue/activation"
	"fugue/internal/config"
	"fugue/internal/release"
)

func (w *world) Prepare(ctx context.Context, current *activation.Set) (*Prepared, error) {
	w.mu.Lock()
	w.prepared++
	dead := w.dead
	file, path, delay, refusal, specs, deaf := w.file, w.release, w.prepare, w.refusal, w.specs, w.deafPrep
	w.mu.Unlock()
	if deaf {
		ctx = context.WithoutCancel(ctx)
	}
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-dead:
		case <-ctx.Done():
			return nil, fmt.Errorf("run the check: %w", ctx.Err())
		}
	}
	cfg, err := configOf(file)
	if err != nil {
		return nil, err
	}
	if refusal != nil {
		return nil, refusal
	}
	select {
	case <-dead: // with its master: there is nothing that could bind any more
		return nil, errors.New("dead")
	default:
	}
	candidate, err := activation.Prepare(current, specs, nil, nil)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	w.opened = append(w.opened, candidate.Added()...)
	w.mu.Unlock()
	return &Prepared{Config: cfg, Release: &release.Release{Path: path}, Candidate: candidate, Inbox: "/run/inbox"}, nil
}

// configOf reads a configuration; a line that begins with "[" ends the keys
// that stand before the tables.
func configOf(text string) (*config.Config, error) {
	head, tables, _ := strings.Cut(text+"\n", "\n[")
	if tables != "" {
		tables = "[" + tables
	}
	if !strings.Contains(tables, "[ready]") {
		tables = "[ready]\nwhen = \"notify\"\n" + tables
	}
	data := "command = [\"/srv/server\"]\n" + head + "\n" + tables
	return config.Parse([]config.File{{Path: "/etc/fugue/web.toml", Text: []byte(data)}}, config.Options{WorkDir: "/"})
}
