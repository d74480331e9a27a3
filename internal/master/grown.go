package master

import (
	"time"

	"github.com/prometheus/procfs"

	"fugue/pool"
)

// weighing is the search for workers that use too much memory. What a worker
// uses for a moment is no reason: several samples in a row have to be too large.
type weighing struct {
	next    time.Time
	running bool // a sample is being taken
	over    map[pool.ID]int
}

const (
	weighEvery = 10 * time.Second
	weighTimes = 3 // samples in a row
)

// weigh takes the next sample when it is due, and says when that is.
func (m *Master) weigh(now time.Time) time.Time {
	w := &m.weighing
	var leaders []int
	var table []pool.Worker
	if m.weighs() {
		table = m.pool.Workers()
	}
	for _, row := range table {
		g := m.generations[row.Generation]
		if g != nil && g.config.Recycle.MaxMemory > 0 && row.State == pool.Available && m.pool.Due(row.ID) == pool.Wanted && row.PID != 0 {
			leaders = append(leaders, row.PID)
		}
	}
	switch {
	case len(leaders) == 0 || m.ending != nil:
		w.next = time.Time{}
		return time.Time{}
	case w.running:
		return time.Time{}
	case w.next.IsZero():
		w.next = now.Add(weighEvery)
	}
	if now.Before(w.next) {
		return w.next
	}
	w.running, w.next = true, now.Add(weighEvery)
	go func() { m.report(weighed{m.world.Memory(leaders)}) }()
	return time.Time{}
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

// weighed: a sample is there, in bytes by process ID.
type weighed struct{ used map[int]uint64 }

func (f weighed) apply(m *Master, _ time.Time) {
	before := m.weighing.over
	m.weighing.running, m.weighing.over = false, map[pool.ID]int{}
	for id, w := range m.workers {
		limit, used := m.generations[w.generation].config.Recycle.MaxMemory, f.used[w.process.PID()]
		if limit == 0 || used <= limit {
			continue
		}
		m.weighing.over[id] = before[id] + 1
		if m.weighing.over[id] >= weighTimes && m.pool.Recycle(id, pool.Grown) {
			m.log.Infof("worker %d (pid %d) of generation %d uses %d MiB, and %d MiB are allowed", w.slot, w.process.PID(), w.generation, used>>20, limit>>20)
		}
	}
}

// Memory implements World: what is shared with others is counted in part.
func (h *host) Memory(leaders []int) map[int]uint64 {
	used := map[int]uint64{}
	for _, leader := range leaders {
		used[leader] = 0
	}
	all, err := procfs.AllProcs()
	if err != nil {
		return used
	}
	for _, p := range all {
		stat, err := p.Stat()
		if err != nil {
			continue
		}
		if _, ours := used[stat.PGRP]; !ours {
			continue
		}
		if rollup, err := p.ProcSMapsRollup(); err == nil { // else it has ended
			used[stat.PGRP] += rollup.Pss
		}
	}
	return used
}
