package proc

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A group is what belongs to a worker beside itself: its process group and,
// where it was given one, its cgroup. Who leaves the group (setsid, a double
// fork) is out of reach without a cgroup.
type group struct {
	id     int // 0: the process leads none
	cgroup int // directory, or -1
}

// newGroup keeps a descriptor of its own for the cgroup; -1: there is none.
func newGroup(cgroup int) (group, error) {
	if cgroup < 0 {
		return group{cgroup: -1}, nil
	}
	fd, err := unix.FcntlInt(uintptr(cgroup), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return group{cgroup: -1}, fmt.Errorf("keep the cgroup directory: %w", err)
	}
	return group{cgroup: fd}, nil
}

func (g group) close() {
	if g.cgroup >= 0 {
		_ = unix.Close(g.cgroup)
	}
}

// killCgroup is cgroup.kill of cgroup-v2(7), Linux 5.14. Where there is none,
// sweep does it one by one.
func (g group) killCgroup() {
	if g.cgroup < 0 {
		return
	}
	fd, err := unix.Openat(g.cgroup, "cgroup.kill", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	_, _ = unix.Write(fd, []byte("1"))
	_ = unix.Close(fd)
}

// kill kills the group, all at once: no fork can slip through. Its leader has
// ended and has not been reaped, so the number is still its own.
func (g group) kill() {
	if g.id > 0 {
		_ = unix.Kill(-g.id, unix.SIGKILL)
	}
}

// gone reports that nothing of the group is left once its leader has been
// reaped: nobody else has its number as a group's until then. If somebody has by
// now, sweep sees that.
func (g group) gone() bool {
	return g.id == 0 || errors.Is(unix.Kill(-g.id, 0), unix.ESRCH)
}

// sweep kills what is left of the group after the end of its leader and waits
// until it is gone, at most until the deadline. pinned: the leader has not
// been reaped, so its number is still the group's.
func (g group) sweep(leader int, start uint64, pinned bool, deadline time.Time) {
	g.killCgroup()
	if pinned {
		g.kill()
	}
	for time.Now().Before(deadline) {
		// A reaped leader's number stays bound to its group as long as the group
		// has members; a new process of that number means that it had none.
		if st, err := readStat(leader); err == nil && st.start != start {
			g.id = 0
		}
		left := g.members(leader)
		if len(left) == 0 {
			return
		}
		for _, pid := range left {
			g.end(pid, deadline)
		}
	}
}

// end kills one member and waits until it is gone.
func (g group) end(pid int, deadline time.Time) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return
	}
	p, err := newPidfd(fd)
	if err != nil {
		return
	}
	defer p.close()
	if !g.has(pid) { // it was another's number by the time of the open
		return
	}
	_ = sendSignal(p.fd, unix.SIGKILL)
	p.wait(deadline, unix.POLLIN)
}

func (g group) has(pid int) bool {
	if st, err := readStat(pid); err == nil && g.id > 0 && st.pgrp == g.id && st.alive() {
		return true
	}
	for _, p := range g.inCgroup() {
		if p == pid {
			return true
		}
	}
	return false
}

// members are the living processes of the group and the cgroup.
func (g group) members(leader int) []int {
	left := g.inCgroup()
	if g.id == 0 {
		return left
	}
	proc, err := os.Open("/proc")
	if err != nil {
		return left
	}
	defer proc.Close()
	names, _ := proc.Readdirnames(-1)
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil || pid == leader {
			continue
		}
		// getpgid is cheap, a look into the process fifty times dearer.
		if pgrp, err := unix.Getpgid(pid); err != nil || pgrp != g.id {
			continue
		}
		if st, err := readStat(pid); err == nil && st.pgrp == g.id && st.alive() {
			left = append(left, pid)
		}
	}
	return left
}

// inCgroup lists what lives in the cgroup, and in those that were made in it.
func (g group) inCgroup() []int {
	if g.cgroup < 0 {
		return nil
	}
	pids, _ := processesBelow("/proc/self/fd/"+strconv.Itoa(g.cgroup)+"/.", "", 0)
	return pids
}

// A stat is the part of proc_pid_stat(5) that matters here.
type stat struct {
	state      byte
	ppid, pgrp int
	threads    int
	start      uint64
}

// alive tells a process from a zombie, whose main thread may have ended before
// its others.
func (s stat) alive() bool { return s.state != 'X' && (s.state != 'Z' || s.threads > 1) }

// readStat is read at each start, so it makes no more calls than it has to: the
// kernel gives the whole line, some 400 bytes, at once.
func readStat(pid int) (stat, error) {
	fd, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/stat", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return stat{}, fmt.Errorf("look at process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	var b [1024]byte
	n, err := unix.Read(fd, b[:])
	if err != nil {
		return stat{}, fmt.Errorf("look at process %d: %w", pid, err)
	}
	return parseStat(string(b[:n]))
}

// parseStat looks for the fields after the last ")": a command may have any
// name.
func parseStat(line string) (stat, error) {
	_, rest, _ := strings.Cut(line[strings.LastIndexByte(line, ')')+1:], " ")
	f := strings.Fields(rest)
	if len(f) < 20 || len(f[0]) != 1 {
		return stat{}, unix.EBADMSG
	}
	s := stat{state: f[0][0]}
	var errs [4]error
	s.ppid, errs[0] = strconv.Atoi(f[1])
	s.pgrp, errs[1] = strconv.Atoi(f[2])
	s.threads, errs[2] = strconv.Atoi(f[17])
	s.start, errs[3] = strconv.ParseUint(f[19], 10, 64)
	for _, err := range errs {
		if err != nil {
			return stat{}, err
		}
	}
	return s, nil
}
