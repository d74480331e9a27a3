package master

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"fugue/activation"
	"fugue/internal/config"
	"fugue/internal/control"
	"fugue/internal/notify"
	"fugue/internal/proc"
)

// Settings are what a person or a unit file starts a master with.
type Settings struct {
	// Load reads the configuration, files and flags; again at each reload.
	Load    func() (*config.Config, error)
	Version string
	Log     *logrus.Logger
	// Up is called once when the control socket answers; nil is fine.
	Up func(*config.Config)
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
	cfg, err := s.Load()
	if err != nil {
		return err
	}
	dir, err := control.Dir(os.Getenv, os.Geteuid(), cfg.Name)
	if err != nil {
		return err
	}
	hold, err := control.Lock(dir)
	if err != nil {
		return err
	}
	defer hold.Release()
	h, err := newHost(s, hold, cfg)
	if err != nil {
		return err
	}
	defer h.close()
	return h.serve(ctx, cfg)
}

func newHost(s Settings, hold *control.Hold, cfg *config.Config) (*host, error) {
	systemd, err := notify.FromEnv(os.Getenv)
	if err != nil {
		return nil, err
	}
	inherited, err := activation.FromEnv(os.LookupEnv, os.Getpid())
	if err != nil {
		return nil, err
	}
	cgroup, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, fmt.Errorf("find our cgroup: %w", err)
	}
	return &host{
		settings: s, name: cfg.Name, hold: hold, systemd: systemd, inherited: inherited,
		unit:    unitOf(os.Getenv, os.Getpid(), string(cgroup)),
		journal: ownJournal(os.Getenv), inboxes: map[int]*notify.Inbox{},
	}, nil
}

func (h *host) serve(ctx context.Context, cfg *config.Config) error {
	strangers, err := h.findStrangers()
	if err != nil {
		h.settings.Log.Warnf("%v; what a predecessor left there is not ended", err)
	}
	h.strangers = strangers
	m := New(Options{
		Name: cfg.Name, Version: h.settings.Version, Unit: h.unit,
		Log: h.settings.Log, Watchdog: watchdogOf(os.Getenv, os.Getpid()),
	}, h)
	h.report, h.owns = m.report, m.OwnsProcess
	if h.socket, err = h.openControl(cfg); err != nil {
		return err
	}
	if h.server, err = control.Serve(h.socket, m, h.access(cfg), h.settings.Version); err != nil {
		return err
	}
	signals, err := watchSignals(m)
	if err != nil {
		return err
	}
	defer signals.Close()
	if h.settings.Up != nil {
		h.settings.Up(cfg)
	}
	err = m.Run(ctx, strangers)
	h.farewell(m)
	return err
}

// watchSignals makes a fact of signals that are pending; the loop takes them
// itself, so that one is never taken and then lost with the image.
func watchSignals(m *Master) (*proc.Signals, error) {
	signals, err := proc.WatchSignals(Signals())
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			select {
			case <-signals.Pending():
				m.report(pending{signals.Take})
			case <-m.ended:
				return
			}
		}
	}()
	return signals, nil
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
	h.server.Close(ctx)
	successor := h.unit != "" && !m.finalStop()
	h.socket.Close(!successor)
	// A time of its own: a client that hangs has used up the other.
	last, cancel := context.WithTimeout(context.Background(), farewellTime)
	defer cancel()
	if err := h.systemd.Barrier(last); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		h.settings.Log.Debugf("last words to systemd: %v", err)
	}
}
