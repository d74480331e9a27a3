// Package pooltest is a world in fake time around a pool: processes that
// behave as they are told, the rules that no pool may break, checked at
// every single action, and a small language for recorded stories. It is for
// the tests of pool, reload and what stands on them; the program never
// imports it.
package pooltest

import (
	"slices"
	"time"

	"fugue/pool"
)

// TB is what the world needs of a test; *testing.T and *rapid.T have it.
type TB interface {
	Helper()
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Manner is how the workers of a generation behave.
type Manner struct {
	Ready  time.Duration // from spawn to ready; negative: never
	Life   time.Duration // from spawn to an exit by itself; 0: it lives on
	Clean  bool          // that exit ends well
	Drain  time.Duration // from stop signal to exit; negative: only a kill ends it
	Refuse bool          // it cannot even be started
	Mute   bool          // it sends its watchdog no pings
}

// Release is a generation as the world sees it.
type Release struct {
	Number pool.Generation
	Limits pool.Limits
	Manner Manner

	streak int // the world's own book of rounds that failed: rules.go
	since  time.Time
}

// Proc is a living process.
type Proc struct {
	ID      pool.ID
	Slot    int
	Release *Release

	Ready     bool
	Available bool
	Stopping  bool // decided by the pool; the signal may come later
	Signalled bool
	Killed    bool
	Leaving   pool.Why // it goes when another has taken its place
	Instead   bool     // it was started in the place of one that is recycled
	Mute      bool     // it sends no pings, or no more

	born     time.Time
	readyBy  time.Time // zero: never expires
	readyAt  time.Time // when it will say so; zero: never, or done
	since    time.Time // ready since
	exitAt   time.Time // when it will exit; zero: never
	clean    bool      // how
	why      pool.Why
	booked   bool // its failure has been counted
	refused  bool // it cannot be started
	decided  time.Time
	hasty    bool // it was not ready when it was decided: no delay
	signalAt time.Time
	killBy   time.Time // zero: never

	interval time.Duration // of its watchdog
	pingAt   time.Time     // when it will send one; zero: never
	pingBy   time.Time     // when it has to have sent one
	overdue  bool
}

// World is a pool with everything that happens to it.
type World struct {
	TB
	Pool *pool.Pool
	Now  time.Time

	// Steer is asked between two settlings of the pool; it reports whether
	// it changed anything. SteerWake is when it wants to be asked again.
	Steer      func() bool
	SteerWake  func() time.Time
	SteerFirst bool // the order in which a loop asks the two must not matter
	Batch      bool // all that happens in one instant is told before it settles

	// Rollout reports that one is under way; nil: none ever is.
	Rollout func() bool

	// The rules of others: what was just decided to stop, what was spawned.
	OnStop  func([]*Proc)
	OnSpawn func(*Proc)

	Procs    []*Proc // by age
	Releases []*Release
	History  []Event

	maxDraining int
	abandoned   bool
	wake        time.Time
	begun       time.Time
	lastID      pool.ID
}

// New makes an empty world.
func New(t TB) *World {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	return &World{TB: t, Pool: pool.New(), Now: start, begun: start, History: make([]Event, 0, 128)}
}

// Since is the age of the world.
func (w *World) Since() time.Duration { return w.Now.Sub(w.begun) }

// AddRelease makes a generation known.
func (w *World) AddRelease(g pool.Generation, l pool.Limits, m Manner) *Release {
	r := &Release{Number: g, Limits: l, Manner: m}
	w.Releases = append(w.Releases, r)
	w.Pool.SetLimits(g, l)
	return r
}

// Release finds a generation; nil if it is not known.
func (w *World) Release(g pool.Generation) *Release {
	for _, r := range w.Releases {
		if r.Number == g {
			return r
		}
	}
	return nil
}

// Proc finds a living process; nil if there is none.
func (w *World) Proc(id pool.ID) *Proc {
	for _, p := range w.Procs {
		if p.ID == id {
			return p
		}
	}
	return nil
}

// SetMaxDraining tells the pool and the rules.
func (w *World) SetMaxDraining(n int) {
	w.maxDraining = n
	w.Pool.SetMaxDraining(n)
}

// Abandon ends everything at once.
func (w *World) Abandon() {
	w.abandoned = true
	w.Pool.Abandon(w.Now)
	for _, p := range w.Procs {
		if !p.Stopping {
			p.Stopping, p.decided = true, w.Now
		}
		p.why, p.killBy = pool.Abandoned, w.Now
	}
}

// Step goes to the next thing that happens, if that is not after until;
// else to until. It reports whether something happened.
func (w *World) Step(until time.Time) bool {
	at := w.next()
	if at.IsZero() || at.After(until) {
		if until.After(w.Now) {
			w.Now = until
		}
		w.quiet()
		return false
	}
	if at.After(w.Now) {
		w.Now = at
	}
	for i := 0; i < len(w.Procs); {
		p := w.Procs[i]
		if !w.happen(p) {
			i++
			continue
		}
		if !w.Batch {
			break
		}
		if i < len(w.Procs) && w.Procs[i] == p { // it is still there: it may exit in the same instant
			continue
		}
	}
	w.Settle()
	return true
}

// Run lets d pass.
func (w *World) Run(d time.Duration) {
	until := w.Now.Add(d)
	for w.Step(until) {
	}
}

// Jump lets d pass without anybody being asked: the machine was suspended,
// or the master did not get to run.
func (w *World) Jump(d time.Duration) {
	w.Now = w.Now.Add(d)
	w.Settle()
}

// Idle reports that nothing will happen any more.
func (w *World) Idle() bool { return w.next().IsZero() }

func (w *World) next() time.Time {
	at := w.wake
	sooner := func(t time.Time) {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	if w.SteerWake != nil {
		sooner(w.SteerWake())
	}
	for _, p := range w.Procs {
		sooner(p.readyAt)
		sooner(p.exitAt)
		sooner(p.pingAt)
	}
	return at
}

// happen tells the pool what is due of one process.
func (w *World) happen(p *Proc) bool {
	switch {
	case !p.readyAt.IsZero() && !p.readyAt.After(w.Now) && (p.exitAt.IsZero() || !p.exitAt.Before(p.readyAt)):
		p.readyAt = time.Time{}
		w.SayReady(p)
	case !p.exitAt.IsZero() && !p.exitAt.After(w.Now):
		w.Exit(p, p.clean)
	case !p.pingAt.IsZero() && !p.pingAt.After(w.Now):
		w.SayAlive(p)
	default:
		return false
	}
	return true
}

// SayReady is READY=1 of p.
func (w *World) SayReady(p *Proc) {
	w.note(Event{Kind: "ready", Proc: p})
	if news := w.Pool.Ready(w.Now, p.ID); news != (!p.Stopping && !p.Ready) {
		w.Break("facts", "the pool takes READY=1 of #%d as news: %v", p.ID, news)
	}
	if !p.Stopping && !p.Ready {
		p.Ready, p.since = true, w.Now
		p.heard(w.Now)
		w.ping(p)
	}
}

// SayStopping is STOPPING=1 of p.
func (w *World) SayStopping(p *Proc) {
	w.note(Event{Kind: "stopping by itself", Proc: p})
	w.promote(p)
	if news := w.Pool.Unready(w.Now, p.ID); news != !p.Stopping {
		w.Break("facts", "the pool takes STOPPING=1 of #%d as news: %v", p.ID, news)
	}
	if p.Stopping {
		return
	}
	if !p.Available {
		w.book(p)
	}
	p.Leaving = pool.Wanted
	p.Stopping, p.Signalled, p.why, p.decided, p.signalAt = true, true, pool.Itself, w.Now, w.Now
	p.readyAt = time.Time{}
	w.due(p)
	w.drain(p)
}

// Extend is EXTEND_TIMEOUT_USEC= of p.
func (w *World) Extend(p *Proc, d time.Duration) {
	w.Pool.Extend(w.Now, p.ID, d)
	until := w.Now.Add(d)
	switch {
	case !p.Stopping && !p.Ready && !p.readyBy.IsZero() && until.After(p.readyBy):
		p.readyBy = until
	case p.Stopping && !p.killBy.IsZero() && until.After(p.killBy):
		p.killBy = until
	case p.watched() && until.After(p.pingBy):
		p.pingBy, p.overdue = until, false
	}
}

// Exit is the end of p.
func (w *World) Exit(p *Proc, clean bool) {
	w.promote(p)
	want := pool.Died
	switch {
	case p.Stopping && (p.why != pool.Itself || p.booked || p.Killed || clean), p.Leaving.Hung():
		want = pool.Asked
	case !p.Available:
		want = pool.Failed
		w.book(p)
	case clean:
		want = pool.Clean
	}
	w.Procs = slices.DeleteFunc(w.Procs, func(x *Proc) bool { return x == p })
	fate := w.Pool.Exited(w.Now, p.ID, clean)
	w.note(Event{Kind: "exited", Proc: p, Text: fateWords[fate]})
	if fate != want {
		w.Break("facts", "the exit of #%d was %q to the pool and is %q", p.ID, fateWords[fate], fateWords[want])
	}
	if again := w.Pool.Exited(w.Now, p.ID, clean); again != pool.Unknown {
		w.Break("facts", "the exit of #%d counts twice", p.ID)
	}
}

var fateWords = [...]string{"as asked", "ended well by itself", "died", "failed", "unknown"}

func (w *World) drain(p *Proc) {
	if p.Release.Manner.Drain < 0 {
		p.exitAt = time.Time{}
		return
	}
	if at := w.Now.Add(p.Release.Manner.Drain); p.exitAt.IsZero() || at.Before(p.exitAt) {
		p.exitAt, p.clean = at, true
	}
}
