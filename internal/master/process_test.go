package master

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"fugue/internal/notify"
	"fugue/internal/proc"
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

func (w *world) process(pid int, how manner) *process {
	p := &process{
		world: w, manner: how, pid: pid, ended: make(chan struct{}), listens: make(chan struct{}),
		proceeds: make(chan struct{}), orphaned: w.dead, signals: make(chan syscall.Signal, 16), hangs: make(chan struct{}, 1), told: new(int), lingers: new(atomic.Bool), kills: make(chan struct{}, 16), dies: make(chan proc.Exit, 1),
	}
	w.processes[pid] = p
	w.born++
	return p
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
