package sweep

import (
	"context"
	"slices"
)

// Result tells what a sweep by hand has done.
type Result struct {
	Ended  int // processes that are gone
	Killed int // of these, those that had to be killed
}

// Hand ends the workers of a master that is dead, those that it wrote down and
// no others: outside a unit nothing else tells whose a process is. Who calls
// it holds the pool's lock, so that no master takes the workers over meanwhile.
func Hand(ctx context.Context, o Options) (Result, error) {
	left := known(o)
	e := &ending{log: o.Log, known: left}
	looked := false
	e.list = func() (pids []int, err error) {
		if !looked { // nothing that is written down is forked later
			for pid := range left {
				pids = append(pids, pid)
			}
		}
		looked = true
		slices.Sort(pids)
		return pids, nil
	}
	e.ours = func(pid int, start uint64) bool { return left[pid].Start == start }
	err := e.run(ctx)
	return Result{Ended: e.ended, Killed: e.killed}, err
}
