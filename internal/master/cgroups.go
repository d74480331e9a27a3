package master

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"fugue/internal/cgroup"
	"fugue/internal/config"
	"fugue/internal/notify"
	"fugue/internal/proc"
)

// emptyTime is how long a killed worker's cgroup may take to become empty: a
// process may be in an uninterruptible sleep. What is left then is removed by
// a successor, or by systemd.
const emptyTime = 5 * time.Second

// findCgroup finds that of our unit; there is none outside of one.
func (h *host) findCgroup() {
	if h.unit == "" {
		return
	}
	u, err := proc.UnitCgroup(h.unit)
	if err != nil {
		h.settings.Log.Warnf("%v; workers have none of their own", err)
		return
	}
	h.cgroup = &cgroup.Base{Dir: u.Dir(), Path: u.Path(), Self: u.Self()}
}

// ownCgroup is a worker's own cgroup.
type ownCgroup struct {
	base cgroup.Base
	path string
	// outOfMemory is what the kernel counted there, read when all was over.
	outOfMemory atomic.Bool
}

// makeCgroup makes the cgroup for a worker; nil where it has none. Where nobody
// has asked for one, and it was only that it could be, a worker starts without.
func (h *host) makeCgroup(w Launch) (*ownCgroup, error) {
	l := w.Config.Limits
	asked := len(w.Config.OfCgroup()) > 0
	if h.cgroup == nil || !asked && (l.Cgroup != nil || !h.cgroup.Delegated()) {
		if asked {
			return nil, errors.New("make a cgroup for a worker: this master is in no unit of systemd")
		}
		return nil, nil
	}
	path, err := h.cgroup.Make(w.Slot, cgroup.Limits{
		MemoryMax: l.MemoryMax, MemoryHigh: l.MemoryHigh, TasksMax: l.TasksMax, CPUWeight: l.CPUWeight,
	})
	switch {
	case err == nil:
		return &ownCgroup{base: *h.cgroup, path: path}, nil
	case asked:
		return nil, err
	}
	about(h.settings.Log, w.Slot, w.Generation).Warnf("%v; it starts without", err)
	return nil, nil
}

// cgroupAt is that of a worker that a predecessor started.
func (h *host) cgroupAt(path string) *ownCgroup {
	if path == "" || h.cgroup == nil {
		return nil
	}
	return &ownCgroup{base: *h.cgroup, path: path}
}

// open gives the directory, -1 where there is none.
func (f *ownCgroup) open() (int, error) {
	if f == nil {
		return -1, nil
	}
	return f.base.Open(f.path)
}

// name is its path for the memo.
func (f *ownCgroup) name() string {
	if f == nil {
		return ""
	}
	return f.path
}

// judge says of an exit what only the cgroup knows.
func (f *ownCgroup) judge(exit proc.Exit) proc.Exit {
	exit.OutOfMemory = f != nil && exit.Signal == syscall.SIGKILL && f.outOfMemory.Load()
	return exit
}

// thenRemoveCgroup tells of a worker's end, when it is known why it came, and
// removes its cgroup.
func (h *host) thenRemoveCgroup(log *logrus.Entry, f *ownCgroup, exited func()) func() {
	if f == nil {
		return exited
	}
	return func() {
		h.cleaning.Add(1)
		defer h.cleaning.Done()
		f.outOfMemory.Store(f.base.OutOfMemory(f.path))
		exited()
		h.removeCgroup(log, f, emptyTime)
	}
}

func (h *host) removeCgroup(log *logrus.Entry, f *ownCgroup, wait time.Duration) {
	if f == nil {
		return
	}
	if err := f.base.Remove(f.path, wait); err != nil {
		log.Warn(err)
	}
}

// removeOldCgroups removes those of workers that ended while there was no master
// to see it. What has a process in it stays: it is removed with its last one.
// What is listed here was made before any worker of ours.
func (h *host) removeOldCgroups(in Inheritance) {
	if h.cgroup == nil || !h.cgroup.Delegated() {
		return
	}
	kept := map[string]bool{}
	if s := in.State; s != nil {
		living := s.living()
		for _, w := range s.Workers {
			kept[w.Memo.Cgroup] = slices.Contains(living, w.PID)
		}
	}
	old, err := h.cgroup.Others(kept)
	if err != nil {
		h.settings.Log.Warnf("%v", err)
	}
	for _, path := range old {
		_ = h.cgroup.Remove(path, 0)
	}
}

// thenRemoveStrangers does so for a worker that nobody knows: it is removed with
// the last of the processes in it.
func (h *host) thenRemoveStrangers(pid int, exited func()) func() {
	if h.cgroup == nil {
		return exited
	}
	_, in := notify.Lineage(pid)
	path := h.cgroup.Of(in)
	if path == "" {
		return exited
	}
	return func() {
		exited()
		_ = h.cgroup.Remove(path, 0)
	}
}

// inOneOf reports whether a process is in the cgroup of a worker that lives.
func (s *saved) inOneOf(path string, living []int) bool {
	return slices.ContainsFunc(s.Workers, func(w savedWorker) bool {
		return slices.Contains(living, w.PID) && cgroup.Within(path, w.Memo.Cgroup)
	})
}

// What to do about it, for each way in which a limit cannot be kept.
const (
	sayDelegate = "add Delegate=yes to its [Service]"
	saySubgroup = "add DelegateSubgroup=fugue to its [Service] (systemd 254 or later)"
	thenRestart = "then run systemctl daemon-reload and restart it"
)

// checkCgroup refuses what the configuration wants of a worker's own cgroup, and
// our unit has not been given. Controllers that are wanted are on afterwards.
func (h *host) checkCgroup(cfg *config.Config) error {
	if err := checkControllers(cfg); err != nil {
		return err
	}
	for _, key := range cfg.OfCgroup() {
		switch {
		case h.cgroup == nil:
			return cfg.Errorf(key, "%s: a worker has a cgroup of its own in a unit of systemd that has Delegate=yes, and this master is in none", key)
		case !h.cgroup.Delegated():
			return cfg.Errorf(key, "%s: systemd has not left the cgroups below %s to it: %s, %s", key, h.unit, sayDelegate, thenRestart)
		}
		name := config.Controller(key)
		if name == "" {
			continue
		}
		switch err := h.cgroup.Enable([]string{name}); {
		case errors.Is(err, cgroup.ErrNoController):
			return cfg.Errorf(key, "%s: %s has no %s controller: %s (or Delegate=%s), %s", key, h.unit, name, sayDelegate, name, thenRestart)
		case errors.Is(err, cgroup.ErrInside):
			return cfg.Errorf(key, "%s: no controller can be on below %s while its main process is in the cgroup of the unit itself: %s, %s", key, h.unit, saySubgroup, thenRestart)
		case err != nil:
			return cfg.Errorf(key, "%s: %w", key, err)
		}
	}
	return nil
}

// checkControllers refuses limits that this machine has no means for.
func checkControllers(cfg *config.Config) error {
	var errs config.Errors
	var there []string
	for _, key := range cfg.OfCgroup() {
		name := config.Controller(key)
		if name == "" {
			continue
		}
		if there == nil {
			mounts, err := os.ReadFile("/proc/self/mountinfo")
			if err != nil {
				return fmt.Errorf("find the cgroups of this machine: %w", err)
			}
			there = append([]string{""}, cgroup.Machine(string(mounts))...)
		}
		if !slices.Contains(there, name) {
			errs = append(errs, cfg.Errorf(key, "%s: this machine has no %s controller for cgroups of version 2: the kernel was started without it, or version 1 uses it", key, name))
		}
	}
	if errs != nil {
		return errs
	}
	return nil
}
