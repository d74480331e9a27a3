package master

import (
	"fmt"
	"time"

	"fugue/pool"
)

// weighing is the search for workers that use too much memory. What a worker
// uses for a moment is no reason: several samples in a row have to be too large.
type weighing struct {
	next    time.Time
	running bool // a sample is being taken
	busy    bool // one is being replaced for its memory
	over    map[pool.ID]int
}

const (
	weighEvery = 10 * time.Second
	weighTimes = 3 // samples in a row
)

// Weight is what a worker uses, and where that is from.
type Weight struct {
	Bytes uint64
	From  WeightFrom
}

// WeightFrom is a way to find out what a worker uses; the word is for status.
type WeightFrom string

// The ways.
const (
	// FromCgroup is the kernel's own count in the worker's cgroup.
	FromCgroup WeightFrom = "cgroup"
	// FromPSS adds up the proportional set sizes of its processes.
	FromPSS WeightFrom = "pss"
)

func (w Weight) String() string {
	what := "PSS of its processes"
	if w.From == FromCgroup {
		what = "its cgroup"
	}
	return fmt.Sprintf("%d MiB (%s)", w.Bytes>>20, what)
}

// weigh takes the next sample when it is due, and says when that is. While one
// worker is being replaced for its memory nobody is weighed, and then for a whole
// interval more: those that have grown alike do not go one right behind the other.
func (m *Master) weigh(now time.Time) time.Time {
	w := &m.weighing
	cgroups, busy := m.toWeigh()
	if w.next.IsZero() || w.busy != busy {
		w.busy, w.next = busy, now.Add(weighEvery)
	}
	switch {
	case len(cgroups) == 0 || m.ending != nil:
		w.next = time.Time{}
		return time.Time{}
	case w.running || busy:
		return time.Time{}
	case now.Before(w.next):
		return w.next
	}
	w.running, w.next = true, now.Add(weighEvery)
	go func() { m.report(weighed{m.world.Memory(cgroups)}) }()
	return time.Time{}
}

// toWeigh are the workers whose memory is bounded, by process ID, with their
// cgroups; busy: one of them is being replaced for it.
func (m *Master) toWeigh() (cgroups map[int]string, busy bool) {
	if !m.weighs() {
		return nil, false
	}
	cgroups = map[int]string{}
	for _, row := range m.pool.Workers() {
		g, due := m.generations[row.Generation], m.pool.Due(row.ID)
		busy = busy || due == pool.Grown
		if w := m.workers[row.ID]; w != nil && g != nil && g.config.Recycle.MaxMemory > 0 && row.State == pool.Available && due == pool.Wanted {
			cgroups[row.PID] = w.memo.Cgroup
		}
	}
	return cgroups, busy
}

// weighs reports that a release bounds the memory of its workers.
func (m *Master) weighs() bool {
	for _, g := range m.generations {
		if g.config.Recycle.MaxMemory > 0 {
			return true
		}
	}
	return false
}

// weighed: a sample is there, by process ID.
type weighed struct{ used map[int]Weight }

func (f weighed) apply(m *Master, _ time.Time) {
	before := m.weighing.over
	m.weighing.running, m.weighing.over = false, map[pool.ID]int{}
	var worst *worker
	for id, w := range m.workers {
		now, sampled := f.used[w.process.PID()]
		if !sampled {
			continue
		}
		w.weight = now
		if limit := m.goesAt(w); limit == 0 || now.Bytes <= limit {
			continue
		}
		m.weighing.over[id] = before[id] + 1
		if m.weighing.over[id] >= weighTimes && (worst == nil || m.excess(w) > m.excess(worst)) {
			worst = w
		}
	}
	if worst == nil || !m.pool.Recycle(worst.id, pool.Grown) {
		return
	}
	worst.grown = fmt.Sprintf("it uses %v, and goes at %d MiB of the %d MiB that are allowed",
		worst.weight, m.goesAt(worst)>>20, m.maxMemory(worst)>>20)
	m.of(worst).Infof("worker %d (pid %d) of generation %d is too large: %s", worst.slot, worst.process.PID(), worst.generation, worst.grown)
}

func (m *Master) maxMemory(w *worker) uint64 {
	return m.generations[w.generation].config.Recycle.MaxMemory
}

// goesAt is what a worker may use itself; 0: anything.
func (m *Master) goesAt(w *worker) uint64 {
	return pool.Spread(m.maxMemory(w), w.generation, w.slot)
}

// leavingText is why a worker leaves, for people.
func leavingText(w *worker, why pool.Why) string {
	if why == pool.Grown && w.grown != "" {
		return why.String() + ": " + w.grown
	}
	return why.String()
}

// excess is what it uses of that: the worst is replaced first.
func (m *Master) excess(w *worker) float64 { return float64(w.weight.Bytes) / float64(m.goesAt(w)) }
