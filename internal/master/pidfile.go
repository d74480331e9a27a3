package master

import (
	"fugue/internal/config"
	"fugue/internal/pidfile"
)

// checkPIDFile finds out whether the file could be had. At a start it is made
// at once: another pool that has it must refuse this one, and not the other
// way round later.
func (h *host) checkPIDFile(cfg *config.Config, start bool) error {
	path := cfg.PIDFile
	if path == "" || h.pidFile != nil && h.pidFile.Path() == path {
		return nil
	}
	var err error
	if start && h.pidFile == nil {
		h.pidFile, err = pidfile.Create(path)
	} else {
		err = pidfile.Check(path)
	}
	if err != nil {
		return cfg.Errorf("pid_file", "pid file %s: %w", path, err)
	}
	return nil
}

// movePIDFile makes the file that the configuration wants, and only then
// removes another: whoever reads either finds a master. A pool that serves goes
// on serving without.
func (h *host) movePIDFile(cfg *config.Config) {
	old := h.pidFile
	switch path := cfg.PIDFile; {
	case old == nil && path == "", old != nil && old.Path() == path:
		return
	case path == "":
		h.pidFile = nil
	default:
		made, err := pidfile.Create(path)
		if err != nil {
			h.settings.Log.Errorf("pid file %s: %v", path, err)
			return
		}
		h.pidFile = made
	}
	if old != nil {
		old.Remove()
	}
}

// resumePIDFile takes up the file of the image before this one. One that
// somebody has removed meanwhile is made again where the configuration is
// applied next.
func (h *host) resumePIDFile(f *savedFile) {
	if f == nil {
		return
	}
	file, err := pidfile.Resume(f.Path, f.FD)
	if err != nil {
		h.settings.Log.Warnf("pid file %s: %v; it is made again", f.Path, err)
		return
	}
	h.pidFile = file
}
