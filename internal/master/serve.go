package master

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"fugue/activation"
	"fugue/internal/config"
	"fugue/internal/control"
	"fugue/internal/handover"
	"fugue/internal/logs"
	"fugue/internal/notify"
	"fugue/internal/proc"
)

// Settings are what a person or a unit file starts a master with.
type Settings struct {
	// Load reads the configuration, files and flags; again at each reload.
	Load func() (*config.Config, error)
	// Name is what the pool is called even where the file cannot be read; nil:
	// nothing then.
	Name    func() (string, error)
	Version string
	Log     *logrus.Logger
	Own     *logs.Own // behind Log; nil: it stays as it is
	// Up is called once when the control socket answers; nil is fine.
	Up func(*config.Config)
	// Ready is called when the pool serves, each time systemd would be told so
	// with READY=1; nil is fine.
	Ready func()
	// Watcher reports a process that watches over the unit while it has no master,
	// and ends by itself: no predecessor's worker. Nil: there is none.
	Watcher func(pid int, unit string) bool
}

// The names under which the fd store keeps what is the master's own.
const (
	storedControl = "fugue.control"
	storedInbox   = "fugue.notify"
)

// Serve runs a pool in this process until it is stopped. The process must be
// born with Signals blocked (proc.EnsureBlocked). Everything that a user can
// have got wrong is found before anything is bound or started.
func Serve(ctx context.Context, s Settings) error {
	role, err := handover.FromEnv(os.LookupEnv, os.Unsetenv)
	switch {
	case err != nil:
		return err
	case role.Kind == handover.Rehearsal:
		return rehearse(s, role.State)
	case role.Kind == handover.Resumption:
		return resume(ctx, s, role)
	}
	cfg, broken := s.Load()
	name := ""
	switch {
	case broken == nil:
		name = cfg.Name
	case s.Name == nil:
		return broken
	default:
		if name, err = s.Name(); err != nil {
			return broken
		}
	}
	dir, err := control.Dir(os.Getenv, os.Geteuid(), name)
	if err != nil {
		return errors.Join(broken, err)
	}
	inherited, err := activation.FromEnv(os.LookupEnv, os.Getpid())
	if err != nil {
		return err
	}
	if broken != nil && !wroteState(dir, inherited) {
		return broken // there is nothing that could run without the file
	}
	hold, err := control.Lock(dir)
	if err != nil {
		return err
	}
	defer hold.Release()
	h, err := newHost(s, hold, name, inherited)
	if err != nil {
		return err
	}
	defer h.close()
	in, err := h.inherit()
	if err != nil {
		return err
	}
	if in.State == nil && broken != nil {
		return broken
	}
	return h.serve(ctx, in, cfg)
}

// wroteState reports whether a predecessor wrote something down.
func wroteState(dir string, inherited []activation.Inherited) bool {
	if slices.ContainsFunc(inherited, func(in activation.Inherited) bool { return in.Name == storedState }) {
		return true
	}
	_, err := os.Lstat(filepath.Join(dir, stateFile))
	return err == nil
}

func newHost(s Settings, hold *control.Hold, name string, inherited []activation.Inherited) (*host, error) {
	systemd, err := notify.FromEnv(os.Getenv)
	if err != nil {
		return nil, err
	}
	cgroup, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, fmt.Errorf("find our cgroup: %w", err)
	}
	return &host{
		settings: s, files: &logs.Files{}, name: name, hold: hold, systemd: systemd, inherited: inherited,
		unit:    unitOf(os.Getenv, os.Getpid(), string(cgroup)),
		journal: ownJournal(os.Getenv), inboxes: map[int]*notify.Inbox{}, stopped: make(chan struct{}, 1),
	}, nil
}

// serve runs the pool: that of the file, or the one that is inherited.
func (h *host) serve(ctx context.Context, in Inheritance, cfg *config.Config) error {
	if in.State != nil {
		cfg = in.State.config()
	}
	if err := h.openState(); err != nil {
		return err
	}
	h.findCgroup()
	h.removeOldTmp(in, cfg)
	h.removeOldCgroups(in)
	m := New(Options{
		Name: h.name, Version: h.settings.Version, Unit: h.unit, Log: h.settings.Log,
		Watchdog: watchdogOf(os.Getenv, os.Getpid()), Clock: monotonic,
	}, h)
	h.report, h.owns, h.pool = m.report, m.OwnsProcess, m
	var err error
	if h.socket, err = h.openControl(cfg); err != nil {
		return err
	}
	if in.State != nil {
		h.movePIDFile(cfg)
		h.watchFiles(cfg)
		h.rights = in.State.rightsTo()
		for _, g := range in.State.Generations { // its workers write there
			if _, err := h.inbox(g.Release.UID, g.Release.GID); err != nil {
				return err
			}
		}
	}
	h.permitted = h.access(cfg)
	if h.server, err = control.Serve(h.socket, m, h.permitted, h.settings.Version); err != nil {
		return err
	}
	if err := h.watch(); err != nil {
		return err
	}
	if h.handedOver {
		if err := h.guard.Release(); err != nil {
			h.settings.Log.Warnf("end the guard: %v", err)
		}
		go h.checkStore()
		h.forget()
	}
	defer func() {
		h.unwatch()
		h.signals.End()
	}()
	if proc.InheritsOrphans() { // after the guard, which is a child and no worker
		defer proc.WatchOrphans(func() { m.report(orphans{proc.ReapOrphans}) })()
	}
	if h.settings.Up != nil {
		h.settings.Up(cfg)
	}
	err = m.Run(ctx, in)
	h.farewell(m)
	return err
}

// config is that of the generation that serves.
func (s *saved) config() *config.Config {
	for _, g := range s.Generations {
		if g.Number == s.Master.Current {
			return g.Config
		}
	}
	return nil // decode has seen to that
}

// monotonic is CLOCK_MONOTONIC of clock_gettime(2).
func monotonic() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // cannot fail
	return time.Duration(ts.Nano())
}

// watch makes a fact of signals that are pending; the loop takes them itself,
// so that one is never taken and then lost with the image.
func (h *host) watch() error {
	signals, err := proc.WatchSignals(Signals())
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	h.signals, h.unwatch = signals, stop
	go func() {
		for {
			select {
			case <-signals.Pending():
				h.report(pending{signals.Take})
			case <-ctx.Done():
				return
			}
		}
	}()
	return nil
}

// openControl takes up the control socket that the store kept, or makes one.
func (h *host) openControl(cfg *config.Config) (*control.Socket, error) {
	for _, in := range h.inherited {
		if in.Name != storedControl {
			continue
		}
		socket, err := control.Adopt(h.hold, in.FD)
		if err == nil {
			return socket, nil
		}
		h.settings.Log.Debugf("control socket from the store: %v", err)
		_ = unix.Close(in.FD)
		_ = h.systemd.RemoveFD(storedControl)
	}
	mode, gid, err := controlRights(cfg)
	if err != nil {
		return nil, err
	}
	socket, err := control.Listen(h.hold, mode, gid)
	if err != nil {
		return nil, err
	}
	return socket, h.systemd.StoreFD(storedControl, socket.FD(), true)
}

// farewellTime is how long callers may take to read the end of their change.
const farewellTime = time.Second

// farewell lets the last answers out. What systemd keeps for a successor
// stays bound to its path.
func (h *host) farewell(m *Master) {
	ctx, cancel := context.WithTimeout(context.Background(), farewellTime)
	defer cancel()
	h.server.HangUp() // who still waits asks the successor
	h.server.Close(ctx)
	successor := h.unit != "" && !m.finalStop()
	if !successor {
		_ = os.Remove(filepath.Join(h.hold.Dir(), stateFile))
		h.Unstore(storedState)
	}
	h.socket.Close(!successor)
	// A time of its own: a client that hangs has used up the other.
	last, cancel := context.WithTimeout(context.Background(), farewellTime)
	defer cancel()
	if err := h.systemd.Barrier(last); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		h.settings.Log.Debugf("last words to systemd: %v", err)
	}
}
