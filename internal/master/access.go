package master

import (
	"os"

	"fugue/internal/config"
	"fugue/internal/control"
	"fugue/internal/notify"
	"fugue/internal/release"
)

// access is who may talk to the master.
func (h *host) access(cfg *config.Config) control.Access {
	a := control.Access{IsWorker: func(pid int) (bool, error) {
		line, cgroup := notify.Lineage(pid)
		return h.owns(pid, line, cgroup)
	}}
	if gid, err := groupID(cfg.Control.Group); err == nil && gid >= 0 {
		a.Writers.GIDs = []int{gid}
	}
	if gid, err := groupID(cfg.Control.Readers); err == nil && gid >= 0 {
		a.Readers.GIDs = []int{gid}
	}
	return a
}

// controlRights are the mode and the group of the control socket. With
// readers everybody may connect, and the check of the peer decides.
func controlRights(cfg *config.Config) (mode os.FileMode, gid int, err error) {
	gid, err = groupID(cfg.Control.Group)
	if err != nil {
		return 0, -1, cfg.Errorf("control.group", "group %q: %w", cfg.Control.Group, err)
	}
	if _, err := groupID(cfg.Control.Readers); err != nil {
		return 0, -1, cfg.Errorf("control.readers", "group %q: %w", cfg.Control.Readers, err)
	}
	if cfg.Control.Readers != "" {
		return 0o666, gid, nil
	}
	return 0o660, gid, nil
}

// groupID looks a group up by name or number; -1 for none.
func groupID(name string) (int, error) {
	if name == "" {
		return -1, nil
	}
	return release.LookupGroup(name)
}
