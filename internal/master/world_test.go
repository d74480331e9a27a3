package master

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"fugue/activation"
	"fugue/internal/config"
	"fugue/internal/notify"
	"fugue/internal/proc"
	"fugue/internal/release"
	"fugue/internal/systemd"
	"fugue/internal/unread"
	"fugue/pool"
)

// manner is how the workers of a release behave.
type manner struct {
	start  error         // their process cannot be made
	launch error         // their command cannot be run
	silent bool          // never ready
	mute   bool          // is seen to be ready, and does not say so
	ready  time.Duration // from start to ready
	seen   string        // what a look sees until then
	life   time.Duration // from start to an end by itself; 0: it lives on
	exit   proc.Exit     // how it then ends
	deaf   bool          // does not hear the stop signal
	drain  time.Duration // from the stop signal to the end
	stderr []string
	tail   time.Duration // how long after the end the last lines arrive
	reap   error         // its exit status cannot be had
	linger time.Duration // how long after its end something of its group is still there
	ping   time.Duration // how often it says WATCHDOG=1 once it is ready; 0: never
}

var (
	good   = manner{ready: 100 * time.Millisecond, drain: 50 * time.Millisecond}
	broken = manner{silent: true, life: 20 * time.Millisecond, exit: proc.Exit{Code: 1}, stderr: []string{"loading", "no such table: users"}}
	hangs  = manner{silent: true, drain: 50 * time.Millisecond}
	absent = manner{launch: &proc.LaunchError{Step: "execute /srv/server", Errno: syscall.ENOENT}}
)

// world is an outside that exists only in memory, and in fake time.
type world struct {
	mu sync.Mutex

	file    string            // the configuration
	release string            // what is deployed: the path of the next release
	manners map[string]manner // by release
	deploys map[string]manner // of single workers: "release/slot"

	prepare  time.Duration // how long a preparation takes
	refusal  error         // of a preparation
	deafPrep bool          // it does not hear that it is cancelled
	specs    []activation.Spec
	job      func(ctx context.Context) (string, error)

	report    func(fact)
	lastPID   int
	processes map[int]*process
	born      int // processes ever
	told      []telling
	saved     []byte // the state
	saves     int
	ahead     time.Duration // how far the wall clock of the next master is ahead
	append    bool          // never the whole
	saveErr   error
	onSave    func(stored bool) // before and after it, on the loop
	lossy     bool              // a state was lost: no promise about what it would have had
	broken    []string          // promises
	floor     int               // as many workers have to be ready at every moment; 0: any
	departs   time.Duration
	rehearsal error
	late      []proc.Signal // come at the last moment before the exec
	execErr   error
	executed  func() // by an exec

	rehearsing    time.Duration
	rehearsals    int  // under way
	away          bool // by Depart
	execs         int
	returns       int
	leave         bool          // a restart leaves the workers to the successor
	dead          chan struct{} // closed with the master that lives
	stored        map[string]int
	opened        []activation.Listener // ever
	unread        map[int]time.Time     // by PID: since when a connection is
	looks         int                   // for those
	memory        map[int]uint64        // by PID
	weighsCgroups bool
	sleeps        chan time.Duration // taken by the loop, which stands still for so long
	deferSync     chan struct{}      // closed: the inboxes have been read; nil: they are at once
	prepared      int
	reopened      int
	reopenErr     error
	uncaught      map[int]bool // by PID: do not catch the signal that asks them to open log files
}

// telling is one message to systemd.
type telling struct {
	at   time.Time
	text string
}

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

func (w *world) Start(l Launch, launched func(error), exited func()) (Process, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	how, ok := w.deploys[fmt.Sprintf("%s/%d", l.Release.Path, l.Slot)]
	if !ok {
		how, ok = w.manners[l.Release.Path]
	}
	if !ok {
		how = good
	}
	if how.start != nil {
		return nil, how.start
	}
	for _, socket := range l.Sockets.Listeners() {
		if !activation.Listening(socket) {
			w.breaks("worker %d is started with listener %s shut down", l.Slot, socket.Name)
		}
	}
	w.lastPID++
	p := w.process(w.lastPID, how)
	p.slot, p.generation = l.Slot, int(l.Generation)
	go p.live(launched, exited)
	return p, nil
}

func (w *world) Adopt(_ *logrus.Entry, pid int, memo Memo, exited func()) (Process, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p := w.processes[pid]; p != nil && (memo == Memo{} || memo == p.Memo()) {
		again := *p // with the same life, seen by another master
		again.stranger = memo == Memo{}
		again.lingers = new(atomic.Bool) // who adopts is told when all is over
		go func() {
			<-p.ended
			again.how = p.how
			exited()
		}()
		return &again, nil
	}
	if memo != (Memo{}) {
		return nil, proc.ErrGone
	}
	how, ok := w.manners[fmt.Sprint("stranger ", pid)]
	if !ok {
		return nil, proc.ErrGone
	}
	p := w.process(pid, how)
	p.stranger = true
	p.Proceed()
	go p.live(func(error) {}, exited)
	return p, nil
}

func (w *world) process(pid int, how manner) *process {
	p := &process{
		world: w, manner: how, pid: pid, ended: make(chan struct{}), listens: make(chan struct{}),
		proceeds: make(chan struct{}), orphaned: w.dead, signals: make(chan syscall.Signal, 16), hangs: make(chan struct{}, 1), told: new(int), lingers: new(atomic.Bool), kills: make(chan struct{}, 16), dies: make(chan proc.Exit, 1),
	}
	w.processes[pid] = p
	w.born++
	return p
}

func (w *world) Watch(ctx context.Context, pid int, _ map[uint64]bool, found func(), note func(string)) {
	w.mu.Lock()
	p, dead := w.processes[pid], w.dead
	w.mu.Unlock()
	if p == nil {
		return
	}
	go func() {
		if p.seen != "" {
			note(p.seen)
		}
		select {
		case <-p.listens:
			found()
		case <-dead:
		case <-ctx.Done():
		}
	}()
}

func (w *world) Sync() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	report, wait, dead := w.report, w.deferSync, w.dead
	go func() {
		if wait != nil {
			select {
			case <-wait:
			case <-dead:
			}
		}
		report(datagram{notify.Message{Mark: notify.Synced}})
	}()
	return 1
}

func (w *world) Unread(look UnreadLook) ([]unread.Held, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.looks++
	var held []unread.Held
	for pid, since := range w.unread {
		if waited := time.Since(since); slices.Contains(look.Leaders, pid) && waited >= look.Limit {
			held = append(held, unread.Held{Leader: pid, For: waited})
		}
	}
	return held, nil
}

// Memory is what memory says; who has no cgroup there is weighed otherwise.
func (w *world) Memory(cgroups map[int]string) map[int]Weight {
	w.mu.Lock()
	defer w.mu.Unlock()
	used := map[int]Weight{}
	for pid, path := range cgroups {
		used[pid] = Weight{w.memory[pid], FromPSS}
		if w.weighsCgroups && path != "" {
			used[pid] = Weight{w.memory[pid], FromCgroup}
		}
	}
	return used
}

func (w *world) Tell(state string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told = append(w.told, telling{time.Now(), state})
}

func (w *world) Store(l activation.Listener) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stored[l.StoreName]++
}

func (w *world) Unstore(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.stored, name)
}

func (w *world) Configure(*config.Config) {}

func (w *world) Reopen(holders map[pool.ID]Holder) Reopened {
	r := Reopened{Files: []string{"/var/log/web.log"}, Catch: map[pool.ID]bool{}}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reopened++
	r.Err = w.reopenErr
	for id, h := range holders {
		r.Catch[id] = !w.uncaught[h.PID]
	}
	return r
}

func (w *world) Complaints() []string { return nil }

func (w *world) Orphaned(c *config.Config) bool { return c.Orphans == config.OrphansStop }

// Fate is read off the job; who leaves its workers says so with leave.
func (w *world) Fate(ctx context.Context) (systemd.Fate, error) {
	job, err := w.job(ctx)
	switch {
	case job == "stop":
		return systemd.Stopped, err
	case w.leave:
		return systemd.Left, err
	}
	return systemd.Replaced, err
}

// Save appends as long as it may, but now and then writes the whole.
func (w *world) Save(news []byte, whole func() ([]byte, error)) error {
	if w.onSave != nil {
		w.onSave(false)
		defer w.onSave(true)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.saveErr != nil {
		w.lossy = true
		return w.saveErr
	}
	w.saves++
	if len(news) > 0 && (w.saves%10 > 0 || w.append) {
		w.saved = append(slices.Clip(w.saved), news...)
		return nil
	}
	state, err := whole()
	w.saved = state
	return err
}

func (w *world) Rehearse(ctx context.Context, state []byte) error {
	w.mu.Lock()
	long, dead := w.rehearsing, w.dead
	w.rehearsals++
	w.mu.Unlock()
	defer w.with(func() { w.rehearsals-- })
	select {
	case <-time.After(long):
	case <-ctx.Done():
		return ctx.Err()
	case <-dead:
	}
	_, err := decode(state, "web")
	return errors.Join(err, w.rehearsal)
}

func (w *world) Depart(context.Context) {
	w.mu.Lock()
	long, dead := w.departs, w.dead
	w.away = true
	w.mu.Unlock()
	select {
	case <-time.After(long):
	case <-dead:
	}
}

func (w *world) Signals() []proc.Signal {
	late := w.late
	w.late = nil
	return late
}

func (w *world) Pass([]Process, *activation.Set) (*savedExec, error) { return &savedExec{}, nil }

// Exec ends the master's goroutine where it stands, as an exec does.
func (w *world) Exec() error {
	if w.execErr != nil {
		return w.execErr
	}
	w.execs++
	w.executed()
	runtime.Goexit()
	return nil
}

func (w *world) Return() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.returns++
	w.away = false
}

// process is a worker, or what a predecessor left.
type process struct {
	manner
	world            *world
	pid              int
	slot, generation int
	stranger         bool // to the master that holds it
	told             *int // how often a master sent it the stop signal

	proceeds chan struct{} // closed: it may run its command
	orphaned chan struct{} // closed: its master is gone
	signals  chan syscall.Signal
	kills    chan struct{}
	dies     chan proc.Exit // by a hand from outside
	listens  chan struct{}
	ended    chan struct{}
	lingers  *atomic.Bool   // something of its group does
	how      proc.Exit      // after ended
	stops    int            // signals that it got
	hangs    chan struct{}  // it sends no more pings
	last     syscall.Signal // that it got
}

// live is the life of the process.
func (p *process) live(launched func(error), exited func()) {
	how := p.course(launched)
	p.world.mu.Lock()
	p.how = how
	delete(p.world.processes, p.pid)
	p.world.mu.Unlock()
	close(p.ended)
	if p.linger > 0 {
		p.lingers.Store(true)
		time.AfterFunc(p.linger, func() {
			p.lingers.Store(false)
			exited()
		})
	}
	exited()
}

func (p *process) course(launched func(error)) proc.Exit {
	select {
	case <-p.proceeds:
	case <-p.orphaned: // nobody is left who could let it
		return proc.Exit{Code: 127}
	}
	launched(p.launch)
	if p.launch != nil {
		return proc.Exit{Code: 127}
	}
	var ready, end, drained, pings <-chan time.Time
	if !p.silent {
		ready = time.After(p.ready)
	}
	if p.life > 0 {
		end = time.After(p.life)
	}
	for {
		select {
		case <-ready:
			close(p.listens)
			if !p.mute {
				p.say(p.pid, "READY=1")
			}
			if p.ping > 0 {
				pings = time.After(p.ping)
			}
		case <-pings:
			p.say(p.pid, "WATCHDOG=1")
			pings = time.After(p.ping)
		case <-p.hangs:
			pings = nil
		case <-end:
			return p.exit
		case how := <-p.dies:
			return how
		case <-p.kills:
			return proc.Exit{Signal: syscall.SIGKILL}
		case sig := <-p.signals:
			p.world.mu.Lock()
			p.stops++
			p.last = sig
			p.world.mu.Unlock()
			if !p.deaf && drained == nil {
				ready, drained = nil, time.After(p.drain)
			}
		case <-drained:
			return proc.Exit{}
		}
	}
}

// say sends a datagram to the inbox, from the process or one of its own.
func (p *process) say(from int, lines ...string) {
	fields, _ := notify.ParseState([]byte(strings.Join(lines, "\n")))
	m := notify.Message{PID: from, Fields: fields}
	if from != p.pid {
		m.Lineage = []int{from - 1, p.pid}
	}
	p.world.mu.Lock()
	report := p.world.report
	p.world.mu.Unlock()
	report(datagram{m})
}

func (p *process) PID() int { return p.pid }

func (p *process) Memo() Memo {
	return Memo{Start: uint64(p.pid), Cgroup: fmt.Sprintf("/web.service/worker-%d", p.pid)}
}

func (p *process) Proceed() { close(p.proceeds) }

func (p *process) Signal(sig syscall.Signal) error {
	if sig == syscall.SIGUSR1 { // opens its log files again
		return nil
	}
	p.world.promisesOfSignal(p)
	p.signals <- sig
	return nil
}

func (p *process) KillGroup() error {
	p.kills <- struct{}{}
	return nil
}

func (p *process) Reap() (proc.Exit, error) {
	<-p.ended
	if p.reap != nil {
		return proc.Exit{}, p.reap
	}
	if p.lingers.Load() {
		return p.how, proc.ErrLingers
	}
	return p.how, nil
}

func (p *process) Tail(ctx context.Context, ended bool) []string {
	if !ended {
		return p.stderr
	}
	select {
	case <-time.After(p.tail):
		return p.stderr
	case <-ctx.Done():
		return nil
	}
}
