package master

import (
	"fmt"
	"os"

	"fugue/internal/config"
	"fugue/internal/launch"
	"fugue/internal/logs"
	"fugue/internal/release"
)

// checkLogs finds log files that cannot be written to, and journals that are
// not there, before a worker or the master itself does. Nothing is made.
func checkLogs(cfg *config.Config, rel *release.Release) error {
	var errs config.Errors
	for _, s := range []struct {
		key string
		config.Output
	}{{"log.stdout", cfg.Log.Stdout}, {"log.stderr", cfg.Log.Stderr}} {
		key, o := s.key, s.Output
		switch {
		case o.To == config.ToJournal:
			if _, err := os.Stat(launch.JournalSocket); err != nil {
				errs = append(errs, cfg.Errorf(key, "%s: there is no journal: %w", key, err))
			}
		case o.HasPath():
			if err := checkSlots(o, max(cfg.Workers, 1), rightsOf(rel)); err != nil {
				errs = append(errs, cfg.Errorf(key, "%s: %w", key, err))
			}
		}
	}
	switch path := cfg.Log.Master; path {
	case "", config.MasterStderr:
	case config.MasterJournal:
		if _, err := os.Stat("/run/systemd/journal/socket"); err != nil {
			errs = append(errs, cfg.Errorf("log.master", "log.master: there is no journal: %w", err))
		}
	default:
		if err := logs.CheckFile(path, logs.OurRights()); err != nil {
			errs = append(errs, cfg.Errorf("log.master", "log.master: log file %q: %w", path, err))
		}
	}
	if errs == nil {
		return nil
	}
	return errs
}

// checkSlots looks at the file of each slot; with no slot in its name there is
// one.
func checkSlots(o config.Output, slots int, r logs.Rights) error {
	seen := ""
	for slot := range slots {
		path := logPath(o, slot+1, 1)
		if path == seen {
			break
		}
		seen = path
		if err := logs.CheckFile(path, r); err != nil {
			return fmt.Errorf("log file %q: %w", path, err)
		}
	}
	return nil
}
