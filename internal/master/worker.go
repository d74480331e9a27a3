package master

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"fugue/internal/config"
	"fugue/internal/proc"
	"fugue/pool"
)

// worker is what the loop knows of a running process beside its row in the
// pool.
type worker struct {
	id          pool.ID
	slot        int
	generation  pool.Generation
	process     Process
	memo        Memo
	stopLooking context.CancelFunc
	began       bool // its command runs
	orphan      bool // the master that started it has died
	sent        bool // its stop signal is out
	lingers     bool // it has ended, and something of its group has not yet
	launchErr   error
	gaveUp      bool   // said STOPPING=1 before it was available
	note        string // what looking for readiness saw last
	status      string // its own STATUS=
	readyBy     string // what made it ready: its word, or our look
	seenAt      time.Time
	lateWord    bool     // READY=1 came well after the look had found it ready
	leaving     pool.Why // what was said about its leaving
	weight      Weight   // at the last sample
	grown       string   // what it is replaced for, if that is its memory
}

// slotPast is what is remembered of a slot over its workers.
type slotPast struct {
	restarts int
	lastExit string
}

// of is the log for what concerns one worker: machines find it by its fields.
func (m *Master) of(w *worker) *logrus.Entry { return about(m.log, w.slot, w.generation) }

// about makes an entry with the fields of one worker, or of a generation where
// slot is 0.
func about(log *logrus.Logger, slot int, g pool.Generation) *logrus.Entry {
	e := log.WithField("generation", int(g))
	if slot > 0 {
		e = e.WithField("worker", slot)
	}
	return e
}

func (m *Master) slot(n int) *slotPast {
	s, ok := m.slots[n]
	if !ok {
		s = &slotPast{}
		m.slots[n] = s
	}
	return s
}

// spawn starts the process of a new row; it reports whether there is one.
func (m *Master) spawn(now time.Time, a pool.Action) bool {
	g := m.generations[a.Generation]
	w := &worker{id: a.ID, slot: a.Slot, generation: a.Generation, stopLooking: func() {}}
	process, err := m.world.Start(
		Launch{Slot: a.Slot, Generation: a.Generation, Config: g.config, Release: g.release, Sockets: g.sockets, Inbox: g.inbox},
		func(err error) { m.report(launched{a.ID, err}) },
		func() { m.report(exited{a.ID}) },
	)
	if err != nil {
		m.unstarted(now, a, err)
		return false
	}
	w.process, w.memo = process, process.Memo()
	m.workers[a.ID] = w
	m.held = append(m.held, w)
	m.pool.Spawned(a.ID, process.PID())
	return true
}

// look begins to wait for a worker to become ready.
func (m *Master) look(w *worker) {
	g := m.generations[w.generation]
	id := w.id
	ready := func() { m.report(seenReady{id}) }
	ctx, stop := context.WithCancel(context.Background())
	w.stopLooking = stop
	switch when := g.when(); when {
	case config.WhenStarted:
		t := time.AfterFunc(g.config.Ready.Delay, ready)
		w.stopLooking = func() { t.Stop(); stop() }
	case config.WhenAuto, config.WhenListening:
		m.world.Watch(ctx, w.process.PID(), g.inodes, ready, func(s string) { m.report(noted{id, s}) })
	}
}

// when is how this generation's workers become ready. A worker without any
// socket cannot be seen listening; if it is not said otherwise, running is
// all that can be asked of it.
func (g *generation) when() config.When {
	if g.config.Ready.When == config.WhenAuto && len(g.inodes) == 0 {
		return config.WhenStarted
	}
	return g.config.Ready.When
}

// signal sends a worker its stop signal, or kills it with its group.
func (m *Master) signal(a pool.Action) {
	w, ok := m.workers[a.ID]
	if !ok {
		return
	}
	w.stopLooking()
	pid := w.process.PID()
	if a.Verb == pool.Kill {
		m.of(w).Warnf("killing worker %d (pid %d): %s", w.slot, pid, a.Why)
		m.events.publish(event("killed", w, a.Why.String()))
		if err := w.process.KillGroup(); err != nil {
			m.of(w).Errorf("kill worker %d (pid %d): %v", w.slot, pid, err)
		}
		return
	}
	cfg := m.generations[w.generation].config
	sig := syscall.Signal(cfg.Stop.Signal)
	if a.Why.Hung() {
		sig = abortSignal(cfg)
	}
	m.of(w).Infof("stopping worker %d (pid %d) of generation %d: %s", w.slot, pid, w.generation, a.Why)
	m.events.publish(event("stopping", w, a.Why.String()))
	w.sent = true
	if err := w.process.Signal(sig); err != nil {
		m.of(w).Errorf("send %v to worker %d (pid %d): %v", sig, w.slot, pid, err)
	}
}

// act does what was decided, once it is written down: the processes that were
// made run their command, and signals go out.
func (m *Master) act() {
	for _, w := range m.held {
		w.process.Proceed()
	}
	m.held = nil
	if len(m.signals) == 0 {
		return
	}
	for _, a := range m.signals {
		m.signal(a)
	}
	m.signals = nil
	m.save() // who knows that a signal went out does not send it again
}

// clean reports whether an exit status is a good end. For a stop that was
// asked for, servers end in many ways: 143 and 30 are what shells and uWSGI
// make of a signal, and SIGKILL is our own last word.
func clean(e proc.Exit, asked bool, sig syscall.Signal) bool {
	if e.Signal == 0 && !e.Unknown && e.Code == 0 {
		return true
	}
	return asked && (e.Unknown || e.Signal == sig || e.Signal == syscall.SIGTERM || e.Signal == syscall.SIGKILL || e.Code == 143 || e.Code == 30)
}

// obituary is what is remembered of a worker that failed, for the verdict.
type obituary struct {
	id         pool.ID
	slot, pid  int
	generation pool.Generation
	launch     error     // why it could not be started
	exit       proc.Exit // how it ended
	exited     bool
	gaveUp     bool     // it had said STOPPING=1
	note       string   // what was seen of its readiness
	stderr     []string // its last lines
	complete   bool     // stderr is all there is to come
	waited     bool     // long enough for its end
}

// obituaries keeps the last few.
type obituaries struct{ list []*obituary }

func (o *obituaries) add(b *obituary) {
	const kept = 64
	o.list = append(o.list, b)
	if len(o.list) > kept {
		o.list = o.list[1:]
	}
}

func (o *obituaries) find(id pool.ID) *obituary {
	for _, b := range o.list {
		if b.id == id {
			return b
		}
	}
	return nil
}

// sentence says of a failed worker who it was and how it failed.
func (b *obituary) sentence(f pool.Failure, cfg *config.Config) string {
	who := fmt.Sprintf("worker %d (pid %d) of generation %d", b.slot, b.pid, b.generation)
	switch {
	case b.launch != nil:
		return fmt.Sprintf("worker %d of generation %d could not be started: %v", b.slot, b.generation, b.launch)
	case f.NotReady:
		seen := b.note
		if seen != "" {
			seen = ": it " + seen
		}
		if ignored := b.ignored(cfg); ignored != "" {
			return fmt.Sprintf("%s was not ready within %v%s", who, cfg.Ready.Timeout, ignored)
		}
		return fmt.Sprintf("%s was not ready within %v%s%s", who, cfg.Ready.Timeout, seen, "; send READY=1 from it, or set [ready] when or timeout")
	case f.Hung:
		return who + " hung and was ended by the watchdog"
	case b.waited && !b.exited:
		return fmt.Sprintf("%s said that it is stopping and had not ended %v later", who, tailTimeout)
	case b.gaveUp:
		return fmt.Sprintf("%s said that it is stopping and %s before it was available", who, ended(b.exit))
	case f.Late:
		return fmt.Sprintf("%s %s after it had become available", who, ended(b.exit))
	}
	return fmt.Sprintf("%s %s before it was available%s", who, ended(b.exit), b.ignored(cfg))
}

func ended(e proc.Exit) string {
	if e.Signal != 0 {
		return "was " + e.String()
	}
	return "ended with " + e.String()
}

// wordCounts reports whether READY=1 makes this generation's workers ready.
func (g *generation) wordCounts() bool {
	when := g.config.Ready.When
	return when == config.WhenNotify || when == config.WhenAuto
}

func trimTail(lines []string) []string {
	for len(lines) > 0 && strings.TrimSpace(lines[len(lines)-1]) == "" {
		lines = lines[:len(lines)-1]
	}
	return lines
}
