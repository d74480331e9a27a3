// Package pool is the table of workers and the rule that keeps it full:
//
//	the pool keeps exactly Target(g) workers of every generation g alive.
//
// Facts go in (a worker was spawned, is ready, has exited), intentions come
// out (spawn, stop, kill), each handed out once. The package is pure: it
// reads no clock, starts no process and draws no random number, so that a
// whole life of a pool can be replayed from a list of facts. It is not safe
// for concurrent use, on purpose: one loop owns it.
package pool

import (
	"cmp"
	"slices"
	"time"
)

// Generation numbers a release in the pool, counted up at each reload.
type Generation int

// ID names one worker for the whole of its life and is never used again;
// unlike a slot or a PID.
type ID int

// Limits are the times that one generation's workers are held to. They are
// given once, with SetLimits, because a release is frozen when it is made.
type Limits struct {
	StartTimeout time.Duration // from spawn to ready; 0: no limit
	MinUptime    time.Duration // from ready to available
	StopDelay    time.Duration // a ready worker serves on for this long before its stop signal
	StopTimeout  time.Duration // from stop signal to SIGKILL; 0: no limit
	Backoff      time.Duration // wait before the third start in a row, at least 10 ms; doubles from there
	MaxBackoff   time.Duration // where the doubling ends; 0: nowhere

	Watchdog     time.Duration `json:",omitempty"` // a worker has to be heard of so often while it is ready; 0: it is not watched
	AbortTimeout time.Duration `json:",omitempty"` // from the watchdog's signal to SIGKILL; 0: no limit
	ReplaceFirst bool          `json:",omitempty"` // one that hangs is ended only when another is available in its place
	MaxAge       time.Duration `json:",omitempty"` // after which a worker is recycled; 0: never
}

// Pool is the table. Make one with New.
type Pool struct {
	maxDraining int
	rollout     bool // one is under way: nobody is recycled
	lastID      ID
	generations map[Generation]*generation
	workers     []*Worker // in order of birth
}

// generation is what the pool remembers of one release.
type generation struct {
	limits   Limits
	target   int
	failures Failures
	backoff  backoff
}

// New makes an empty pool.
func New() *Pool {
	return &Pool{generations: map[Generation]*generation{}}
}

func (p *Pool) generation(g Generation) *generation {
	gen, ok := p.generations[g]
	if !ok {
		gen = &generation{}
		p.generations[g] = gen
	}
	return gen
}

// SetLimits gives a generation its limits; before that they are all zero.
func (p *Pool) SetLimits(g Generation, l Limits) { p.generation(g).limits = l }

// SetTarget says how many workers of g are wanted. What is missing or too
// many is seen to by the next Next.
func (p *Pool) SetTarget(g Generation, n int) { p.generation(g).target = max(0, n) }

// Target is the number of workers wanted of g.
func (p *Pool) Target(g Generation) int {
	if gen, ok := p.generations[g]; ok {
		return gen.target
	}
	return 0
}

// SetMaxDraining bounds the workers that have their stop signal and have not
// ended yet; 0 is no bound. Beyond it the longest-draining one is killed.
func (p *Pool) SetMaxDraining(n int) { p.maxDraining = max(0, n) }

// SetRollout says whether a rollout moves the targets: nobody is recycled then.
func (p *Pool) SetRollout(underWay bool) { p.rollout = underWay }

// Drop forgets a generation that has neither target nor workers, so that old
// ones do not pile up; it reports whether it could.
func (p *Pool) Drop(g Generation) bool {
	if p.Target(g) > 0 || slices.ContainsFunc(p.workers, func(w *Worker) bool { return w.Generation == g }) {
		return false
	}
	delete(p.generations, g)
	return true
}

// Generations lists those that have a target or workers, oldest first.
func (p *Pool) Generations() []Generation {
	live := make([]Generation, 0, len(p.generations)+len(p.workers))
	for g, gen := range p.generations {
		if gen.target > 0 {
			live = append(live, g)
		}
	}
	for _, w := range p.workers {
		live = append(live, w.Generation)
	}
	slices.Sort(live)
	return slices.Compact(live)
}

// Count sums up one generation.
type Count struct {
	Wanted    int // its target
	Starting  int // spawned, not ready
	Ready     int // ready or available
	Available int // ready for at least MinUptime
	Stopping  int // told to stop, or stopping by itself
	Leaving   int // of the ready: they are recycled when others have taken their place
	Hung      int // counted nowhere else: they hang, and are ended when others have taken their place
}

// Alive is the number of those that are meant to stay.
func (c Count) Alive() int { return c.Starting + c.Ready - c.Leaving }

// Add sums up two generations.
func (c Count) Add(d Count) Count {
	return Count{
		Wanted: c.Wanted + d.Wanted, Starting: c.Starting + d.Starting, Ready: c.Ready + d.Ready,
		Available: c.Available + d.Available, Stopping: c.Stopping + d.Stopping,
		Leaving: c.Leaving + d.Leaving, Hung: c.Hung + d.Hung,
	}
}

// Count sums up g as of the last Next.
func (p *Pool) Count(g Generation) Count {
	c := Count{Wanted: p.Target(g)}
	for _, w := range p.workers {
		if w.Generation != g {
			continue
		}
		if w.State != Stopping && w.Leaving.Hung() {
			c.Hung++
			continue
		}
		if w.State != Stopping && w.Leaving.Recycled() {
			c.Leaving++
		}
		switch w.State {
		case Starting:
			c.Starting++
		case Ready:
			c.Ready++
		case Available:
			c.Ready++
			c.Available++
		case Stopping:
			c.Stopping++
		}
	}
	return c
}

// Total sums up all generations.
func (p *Pool) Total() Count {
	var c Count
	for _, g := range p.Generations() {
		c = c.Add(p.Count(g))
	}
	return c
}

// Workers is a copy of the table, by slot, then by age.
func (p *Pool) Workers() []Worker {
	all := make([]Worker, 0, len(p.workers))
	for _, w := range p.workers {
		all = append(all, *w)
	}
	slices.SortStableFunc(all, func(a, b Worker) int { return cmp.Compare(a.Slot, b.Slot) })
	return all
}

// Worker is the row of one worker; ok is false when it is gone.
func (p *Pool) Worker(id ID) (w Worker, ok bool) {
	if row := p.find(id); row != nil {
		return *row, true
	}
	return Worker{}, false
}

func (p *Pool) find(id ID) *Worker {
	i, ok := slices.BinarySearchFunc(p.workers, id, func(w *Worker, id ID) int { return cmp.Compare(w.ID, id) })
	if !ok {
		return nil
	}
	return p.workers[i]
}

func (p *Pool) remove(w *Worker) {
	p.workers = slices.DeleteFunc(p.workers, func(x *Worker) bool { return x == w })
}
