package notify

import (
	"bytes"
	"os"
	"strconv"
	"strings"
)

const maxParents = 16

// lineage never errs: of a sender that is gone, or that this process may not
// see, nothing is known.
func lineage(pid int) (line []int, cgroup string) {
	if pid <= 0 {
		return nil, ""
	}
	s, ok := readStat(pid)
	if !ok {
		return nil, ""
	}
	line = []int{s.group, s.session}
	cgroup = readCgroup(pid)
	self := os.Getpid()
	for range maxParents {
		if s.parent == 0 { // init, or a parent outside our namespace
			break
		}
		line = append(line, s.parent)
		if s.parent == 1 || s.parent == self {
			break
		}
		if s, ok = readStat(s.parent); !ok {
			break
		}
	}
	return line, cgroup
}

type stat struct{ parent, group, session int }

func readStat(pid int) (stat, bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return stat{}, false
	}
	return parseStat(b)
}

// parseStat reads proc_pid_stat(5): "PID (COMMAND) STATE PPID PGRP SESSION …".
// The command is the process's own choice and may contain anything, a closing
// parenthesis too: the last one ends it.
func parseStat(b []byte) (s stat, ok bool) {
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(f) < 4 {
		return stat{}, false
	}
	for i, into := range []*int{&s.parent, &s.group, &s.session} {
		n, err := strconv.Atoi(string(f[i+1]))
		if err != nil || n < 0 {
			return stat{}, false
		}
		*into = n
	}
	return s, true
}

// readCgroup returns the "0::" line of proc_pid_cgroup, the only one that
// counts where version 1 hierarchies are mounted beside it.
func readCgroup(pid int) string {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			return strings.TrimSuffix(path, "\n")
		}
	}
	return ""
}
