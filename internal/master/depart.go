package master

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"fugue/activation"
	"fugue/internal/control"
	"fugue/internal/handover"
	"fugue/internal/logs"
	"fugue/internal/notify"
	"fugue/internal/proc"
	"fugue/pool"
)

// departure is what has been done on the way to an exec, for the case that
// it does not take place.
type departure struct {
	guard    *handover.Guard
	signals  bool // are not watched any more
	detached map[*running]logs.Kept
	files    map[string]int
	keep     []int
}

// rehearsalTime is how long the program on disk may take to read a state and the
// configuration. Until then every other change waits.
const rehearsalTime = 10 * time.Second

// Rehearse implements World.
func (h *host) Rehearse(ctx context.Context, state []byte) error {
	ctx, cancel := context.WithTimeout(ctx, rehearsalTime)
	defer cancel()
	path, err := handover.Binary(os.Args[0])
	if err != nil {
		return err
	}
	// A copy: ours goes on changing while it is read.
	fd, err := unix.MemfdCreate("fugue-rehearsal", unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("make a memfd for the rehearsal: %w", err)
	}
	slots, err := handover.FromFD(fd)
	if err != nil {
		_ = unix.Close(fd)
		return err
	}
	defer slots.Close()
	if err := slots.Write(state); err != nil {
		return err
	}
	return handover.Rehearse(ctx, path, os.Args, os.Environ(), slots.FD())
}

// rehearse is the other side: what would be done with the state, up to the
// point where something would change.
func rehearse(s Settings, fd int) error {
	slots, err := handover.FromFD(fd)
	if err != nil {
		return err
	}
	b, err := slots.Read()
	if err != nil {
		return err
	}
	cfg, err := s.Load()
	if err != nil {
		return err
	}
	_, err = decode(b, cfg.Name)
	return err
}

// hangUpTime is how long callers may take to hear that they are to ask again.
const hangUpTime = 2 * time.Second

// Depart implements World.
func (h *host) Depart(ctx context.Context) {
	h.leaving = &departure{detached: map[*running]logs.Kept{}}
	h.server.HangUp()
	limited, cancel := context.WithTimeout(ctx, hangUpTime)
	h.server.Close(limited)
	cancel()
	for _, inbox := range h.inboxes {
		inbox.Stop()
		<-h.stopped // all that it had read has been heard
	}
	guard, err := handover.StartGuard(ctx)
	if err != nil {
		h.settings.Log.Warnf("%v; HUP and INT that come during the exec are lost, and TERM and QUIT end the master", err)
	}
	h.leaving.guard = guard
}

// Signals implements World.
func (h *host) Signals() []proc.Signal {
	if h.leaving.guard != nil {
		return h.signals.Settle()
	}
	h.leaving.signals = true
	h.unwatch()
	return h.signals.Close()
}

// Pass implements World.
func (h *host) Pass(processes []Process, held *activation.Set) (*savedExec, error) {
	e := &savedExec{
		Dir: h.hold.Dir(), Hold: h.hold.FD(), Control: h.socket.FD(), Unit: h.unit, Journal: h.journal,
		Inboxes: map[int]int{}, Relays: map[int]logs.Kept{}, Held: held.Listeners(),
	}
	d := h.leaving
	d.keep = append([]int{e.Hold, e.Control}, held.FDs()...)
	for uid, inbox := range h.inboxes {
		e.Inboxes[uid] = inbox.FD()
		d.keep = append(d.keep, inbox.FD())
	}
	for _, p := range processes {
		r, ok := p.(*running)
		if !ok || r.relay == nil {
			continue
		}
		kept, err := r.relay.Detach()
		if err != nil {
			return nil, err
		}
		d.detached[r] = kept
		e.Relays[r.PID()] = kept
		for _, fd := range []int{kept.Stdout, kept.Stderr} {
			if fd >= 0 {
				d.keep = append(d.keep, fd)
			}
		}
	}
	var err error
	if e.Files, err = h.files.Keep(); err != nil {
		return nil, fmt.Errorf("keep the log files: %w", err)
	}
	d.files = e.Files
	for _, fd := range e.Files {
		d.keep = append(d.keep, fd)
	}
	if h.pidFile != nil {
		e.PIDFile = &savedFile{h.pidFile.Path(), h.pidFile.FD()}
		d.keep = append(d.keep, e.PIDFile.FD)
	}
	return e, nil
}

// Exec implements World.
func (h *host) Exec() error {
	path, err := handover.Binary(os.Args[0])
	if err != nil {
		return err
	}
	if h.settings.Own != nil {
		h.settings.Own.Flush()
	}
	return handover.Exec(path, os.Args, os.Environ(), h.slots.FD(), h.leaving.keep, h.leaving.guard)
}

// Return implements World.
func (h *host) Return() {
	d := h.leaving
	if d == nil {
		return
	}
	h.leaving = nil
	log := h.settings.Log
	for r, kept := range d.detached {
		relay, err := r.relay.Again(r.memo.Identifier, kept)
		if err != nil {
			log.Errorf("go on relaying the output of process %d: %v", r.PID(), err)
			continue
		}
		r.relay = relay
	}
	logs.Drop(d.files)
	if d.signals {
		if err := h.watch(); err != nil {
			log.Errorf("watch signals again: %v", err)
		}
	}
	if d.guard != nil {
		if err := d.guard.Release(); err != nil {
			log.Warnf("end the guard: %v", err)
		}
	}
	for _, inbox := range h.inboxes {
		if err := inbox.Resume(); err != nil {
			log.Errorf("hear workers again: %v", err)
		}
	}
	server, err := control.Serve(h.socket, h.pool, h.permitted, h.settings.Version)
	if err != nil {
		log.Errorf("answer on the control socket again: %v", err)
		return
	}
	h.server = server
}

// resume is the next image of a process that ran a pool.
func resume(ctx context.Context, s Settings, role handover.Role) error {
	slots, err := handover.FromFD(role.State)
	if err != nil {
		return err
	}
	b, err := slots.Read()
	if err != nil {
		return err
	}
	state, err := decode(b, "")
	if err != nil {
		return err
	}
	e := state.Exec
	if e == nil {
		return errors.New("resume: the state does not say which descriptors crossed the exec")
	}
	hold, err := control.Resume(e.Hold, e.Dir)
	if err != nil {
		return err
	}
	defer hold.Release()
	systemd, err := notify.FromEnv(os.Getenv)
	if err != nil {
		return err
	}
	h := &host{
		settings: s, files: &logs.Files{}, name: state.Pool, hold: hold, systemd: systemd, unit: e.Unit, journal: e.Journal,
		inboxes: map[int]*notify.Inbox{}, stopped: make(chan struct{}, 1), slots: slots, kept: e.Relays, guard: role.Guard, handedOver: true,
	}
	defer h.close()
	h.files.Resume(e.Files)
	h.resumePIDFile(e.PIDFile)
	h.inherited = append(h.inherited, activation.Inherited{Name: storedControl, FD: e.Control})
	for uid, fd := range e.Inboxes {
		h.inherited = append(h.inherited, activation.Inherited{Name: inboxName(uid), FD: fd})
	}
	in := Inheritance{State: state, Handover: true, Sockets: map[pool.Generation]*activation.Set{}}
	if in.Held, err = activation.Restore(e.Held); err != nil {
		return err
	}
	for _, g := range state.Generations {
		in.Sockets[g.Number], _ = in.Held.Again(g.Sockets)
	}
	return h.serve(ctx, in, nil)
}
