package master

import "time"

// orphans: children have ended that may be nobody's. The loop looks itself: it
// is what starts workers, so that while it looks there is none that it does not
// know yet.
type orphans struct {
	reap func(own func(pid int) bool) int
}

func (f orphans) apply(m *Master, _ time.Time) {
	own := map[int]bool{}
	for _, w := range m.workers {
		own[w.process.PID()] = true
	}
	for pid := range m.strangers {
		own[pid] = true
	}
	if n := f.reap(func(pid int) bool { return own[pid] }); n > 0 {
		m.log.Debugf("%d processes that had nobody else ended", n)
	}
}
