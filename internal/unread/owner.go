package unread

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// owners says which workers hold the sockets: a process of the worker's group or
// session has it open. Looking costs a readlink for each of their descriptors,
// and is done only for connections that have waited too long.
func owners(late map[uint32]time.Duration, leaders []int) []Held {
	var held []Held
	for _, pid := range processes() {
		leader := leaderOf(pid, leaders)
		if leader == 0 {
			continue
		}
		for _, inode := range sockets(pid) {
			if waited, ok := late[inode]; ok {
				held = longest(held, Held{leader, waited})
			}
		}
	}
	return held
}

func processes() (pids []int) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// leaderOf finds the worker that a process belongs to, by its group or its
// session (fields 5 and 6 of proc_pid_stat(5)); 0: none.
func leaderOf(pid int, leaders []int) int {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 4 {
		return 0
	}
	for _, field := range fields[2:4] {
		if id, err := strconv.Atoi(field); err == nil && slices.Contains(leaders, id) {
			return id
		}
	}
	return 0
}

// sockets are the inodes of those that a process has open; none if we may not
// look, or it has ended.
func sockets(pid int) (inodes []uint32) {
	dir := "/proc/" + strconv.Itoa(pid) + "/fd"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		link, err := os.Readlink(dir + "/" + e.Name())
		if err != nil || !strings.HasPrefix(link, "socket:[") {
			continue
		}
		if n, err := strconv.ParseUint(strings.TrimSuffix(link[len("socket:["):], "]"), 10, 32); err == nil {
			inodes = append(inodes, uint32(n))
		}
	}
	return inodes
}
