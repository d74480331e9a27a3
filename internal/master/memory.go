package master

import "github.com/prometheus/procfs"

// Memory implements World. Where a cgroup says nothing, what is shared with
// others is counted in part; all that a worker has started counts, as long as it
// is in its process group, its session or its cgroup, or descends from it.
func (h *host) Memory(cgroups map[int]string) map[int]Weight {
	used, rest := map[int]Weight{}, map[int]int{}
	for leader, path := range cgroups {
		used[leader] = Weight{From: FromPSS}
		if path == "" || h.cgroup == nil {
			rest[leader] = leader
			continue
		}
		if n, err := h.cgroup.Memory(path); err == nil {
			used[leader] = Weight{n, FromCgroup}
			continue
		}
		rest[leader] = leader
		for _, pid := range h.cgroup.Processes(path) {
			rest[pid] = leader
		}
	}
	if len(rest) == 0 {
		return used
	}
	for pid, leader := range belonging(rest) {
		p, err := procfs.NewProc(pid)
		if err != nil {
			continue // it has ended
		}
		if rollup, err := p.ProcSMapsRollup(); err == nil { // else it has ended
			w := used[leader]
			w.Bytes += rollup.Pss
			used[leader] = w
		}
	}
	return used
}

// belonging adds to processes whose leader is known those that belong to them.
func belonging(leaders map[int]int) map[int]int {
	all, err := procfs.AllProcs()
	if err != nil {
		return leaders
	}
	stats := map[int]procfs.ProcStat{}
	for _, p := range all {
		if stat, err := p.Stat(); err == nil {
			stats[p.PID] = stat
		}
	}
	of := map[int]int{}
	for pid := range stats {
		// A parent may have ended and its number be another's child by now: no
		// chain is longer than there are processes.
		at := pid
		for range stats {
			stat, ok := stats[at]
			if !ok {
				break
			}
			if leader, ours := first(leaders, at, stat.PGRP, stat.Session); ours {
				of[pid] = leader
				break
			}
			at = stat.PPID
		}
	}
	return of
}

func first(leaders map[int]int, pids ...int) (leader int, ok bool) {
	for _, pid := range pids {
		if leader, ok = leaders[pid]; ok {
			return leader, true
		}
	}
	return 0, false
}
