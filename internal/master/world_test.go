package master

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"fugue/activation"
	"fugue/internal/config"
	"fugue/internal/notify"
	"fugue/internal/proc"
	"fugue/internal/systemd"
	"fugue/internal/unread"
	"fugue/pool"
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
	copying  bool // Store keeps a copy of each listener, as the fd store does that does not read what to forget
	copies   []activation.Listener
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
	if w.copying {
		fd, err := unix.Dup(l.FD)
		if err != nil {
			panic(err)
		}
		l.FD = fd
		w.copies = append(w.copies, l)
	}
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
