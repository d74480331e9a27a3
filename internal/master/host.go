package master

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"fugue/activation"
	"fugue/internal/cgroup"
	"fugue/internal/config"
	"fugue/internal/control"
	"fugue/internal/handover"
	"fugue/internal/logs"
	"fugue/internal/notify"
	"fugue/internal/pidfile"
	"fugue/internal/proc"
	"fugue/internal/ready"
	"fugue/internal/systemd"
	"fugue/pool"
)

// host is the real World: this machine.
type host struct {
	settings  Settings
	name      string
	hold      *control.Hold
	systemd   *notify.Systemd // nil: nobody listens
	unit      string
	cgroup    *cgroup.Base // of the unit; nil: we are in none
	journal   bool         // workers get journal streams of their own
	inherited []activation.Inherited
	strangers []int
	listening atomic.Pointer[[]*notify.Inbox] // a copy of inboxes, for the loop
	inboxes   map[int]*notify.Inbox           // by the workers' user; touched by Prepare only, of which there is one at a time
	former    []*notify.Inbox                 // a predecessor's, of other users; Prepare's too
	report    func(fact)
	owns      func(pid int, lineage []int, cgroup string) (bool, error)
	pool      control.Pool
	socket    *control.Socket
	server    *control.Server
	permitted control.Access
	signals   *proc.Signals
	unwatch   context.CancelFunc
	slots     *handover.Slots

	stopped    chan struct{}     // an inbox is not read any more, and all that was has been heard
	leaving    *departure        // nil: not on the way to an exec
	kept       map[int]logs.Kept // output that crossed the exec
	files      *logs.Files
	rights     map[string]logs.Rights // to the log files of a predecessor's workers
	guard      *handover.Guard        // of the exec that this image comes from
	forgetting *time.Timer            // until the program may be given back; the loop's
	handedOver bool
	inboxCount atomic.Int32
	cleaning   cleaning
	pidFile    *pidfile.File // nil: none; Prepare's at a start, then the loop's
	watching   *watching     // nil: nothing
}

func (h *host) close() {
	h.stopWatching()
	if h.pidFile != nil {
		h.pidFile.Remove()
	}
	for _, inbox := range h.inboxes {
		if h.unit == "" {
			_ = inbox.Remove()
		} else {
			_ = inbox.Close() // its path is a successor's
		}
	}
	for _, inbox := range h.former {
		_ = inbox.Remove() // it is in no store any more
	}
	h.systemd.Close()
	h.cleaning.wait()
}

// findStrangers lists what a predecessor left in our unit's cgroup. Outside
// a unit the cgroup is shared with the shell and everything else.
func (h *host) findStrangers() ([]int, error) {
	if h.unit == "" {
		return nil, nil
	}
	unit, err := proc.UnitCgroup(h.unit)
	if err != nil {
		return nil, err
	}
	pids, err := unit.Strangers(os.Getpid())
	if watches := h.settings.Watcher; watches != nil {
		pids = slices.DeleteFunc(pids, func(pid int) bool { return watches(pid, h.unit) })
	}
	return pids, err
}

// Watch implements World.
func (h *host) Watch(ctx context.Context, pid int, sockets map[uint64]bool, found func(), note func(string)) {
	ready.Watch(ctx, pid, sockets, found, note)
}

// Tell implements World.
func (h *host) Tell(state string) {
	if err := h.systemd.Send(state); err != nil {
		h.settings.Log.Debugf("tell systemd %q: %v", state, err)
	}
	if state == notify.Ready { // a start or a reload is over
		if h.settings.Ready != nil {
			h.settings.Ready()
		}
		go h.checkStore()
		h.forget()
	}
}

// calm is how long after READY=1 the last of a start or a reload is done: until
// then what is given back of the program would come back, with its neighbours.
const calm = 5 * time.Second

// forget gives back what only a start needs of the program, when the last is over.
func (h *host) forget() {
	if h.forgetting != nil {
		h.forgetting.Reset(calm)
		return
	}
	h.forgetting = time.AfterFunc(calm, func() {
		if err := forgetProgram(); err != nil {
			h.settings.Log.Debug(err)
		}
	})
}

// Store implements World. What came from a .socket unit is systemd's own.
func (h *host) Store(l activation.Listener) {
	if l.Origin == activation.Systemd || l.StoreName == "" {
		return
	}
	// A TCP socket that was shut down, by a worker or to refuse connections, shows
	// POLLHUP: systemd would drop it, and with it the address.
	if err := h.systemd.StoreFD(l.StoreName, l.FD, l.Network != "tcp"); err != nil {
		h.settings.Log.Warnf("keep listener %s in systemd's fd store: %v", l.Name, err)
	}
}

// Unstore implements World.
func (h *host) Unstore(name string) {
	if err := h.systemd.RemoveFD(name); err != nil {
		h.settings.Log.Warnf("remove %s from systemd's fd store: %v", name, err)
	}
}

// Reopen implements World.
func (h *host) Reopen(holders map[pool.ID]Holder) Reopened {
	var r Reopened
	r.Files, r.Err = h.files.Reopen()
	if own := h.settings.Own; own != nil {
		path, err := own.Reopen()
		if err == nil && path != "" {
			r.Files = append(r.Files, path)
		}
		r.Err = errors.Join(r.Err, err)
	}
	r.Catch = map[pool.ID]bool{}
	for id, holder := range holders {
		if catches, err := proc.Catches(holder.PID, holder.Signal); err == nil { // else it has ended
			r.Catch[id] = catches
		}
	}
	return r
}

// Complaints implements World.
func (h *host) Complaints() []string {
	lost := h.systemd.Lost()
	if lost.Count == 0 {
		return nil
	}
	return []string{fmt.Sprintf("systemd did not take %d messages: %v", lost.Count, lost.Last)}
}

// Orphaned implements World.
func (h *host) Orphaned(c *config.Config) bool { return h.orphans(c) == config.OrphansStop }

// Fate implements World.
func (h *host) Fate(ctx context.Context) (systemd.Fate, error) { return systemd.FateOf(ctx, h.unit) }

// takeInherited takes those of such a name out of what systemd passed.
func (h *host) takeInherited(such func(name string) bool) (taken []activation.Inherited) {
	var rest []activation.Inherited
	for _, in := range h.inherited {
		if such(in.Name) {
			taken = append(taken, in)
		} else {
			rest = append(rest, in)
		}
	}
	h.inherited = rest
	return taken
}

// Configure implements World.
func (h *host) Configure(cfg *config.Config) {
	h.files.Settle() // what crossed an exec is taken by now
	if own := h.settings.Own; own != nil {
		own.Configure(logs.OwnSettings{Pool: h.name, To: cfg.Log.Master, Format: cfg.Log.Format})
		level, err := logrus.ParseLevel(cfg.Log.Level)
		if err != nil {
			level = logrus.InfoLevel // it says none
		}
		if os.Getenv("FUGUE_DEBUG") == "" {
			h.settings.Log.SetLevel(level)
		}
	}
	h.movePIDFile(cfg)
	h.watchFiles(cfg)
	mode, gid, err := controlRights(cfg)
	if err == nil {
		err = h.socket.Permit(mode, gid)
	}
	if err != nil {
		h.settings.Log.Warnf("change who may use the control socket: %v", err)
		return
	}
	h.permitted = h.access(cfg)
	if h.server != nil { // else its turn comes after the exec that did not take place
		h.server.Permit(h.permitted)
	}
}
