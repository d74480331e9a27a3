package notify

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

const maxParents = 16

// A kinship says of a sender to whom it belongs.
type kinship struct {
	// adopts: orphans become our children (prctl(2), PR_SET_CHILD_SUBREAPER; PID
	// 1), so that a child may be anybody's.
	adopts bool
}

func newKinship() kinship {
	var yes int32
	err := unix.Prctl(unix.PR_GET_CHILD_SUBREAPER, uintptr(unsafe.Pointer(&yes)), 0, 0, 0)
	return kinship{adopts: os.Getpid() == 1 || err != nil || yes != 0}
}

// of is lineage. Most datagrams are of a worker itself, our own child: that is
// one system call instead of six, two of them as dear as all the rest of a
// datagram, and its number says who it is.
func (k kinship) of(pid int) (line []int, cgroup string) {
	if k.adopts || !isChild(pid) {
		return lineage(pid)
	}
	return []int{os.Getpid()}, ""
}

// isChild reports whether the process is a child of ours that nobody has
// collected, running or not.
func isChild(pid int) bool {
	if pid <= 0 {
		return false
	}
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return err == nil
		}
	}
}

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
	var buf [1024]byte
	return parseStat(readProc(pid, "stat", buf[:]))
}

// readProc is os.ReadFile without what that does for files of other kinds: it
// is on the way of every datagram.
func readProc(pid int, name string, buf []byte) []byte {
	fd, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/"+name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	n := 0
	for n < len(buf) {
		more, err := unix.Read(fd, buf[n:])
		if err != nil || more == 0 {
			break
		}
		n += more
	}
	return buf[:n]
}

// parseStat reads proc_pid_stat(5): "PID (COMMAND) STATE PPID PGRP SESSION …".
// The command is the process's own choice and may contain anything, a closing
// parenthesis too: the last one ends it.
func parseStat(b []byte) (s stat, ok bool) {
	into := []*int{nil, &s.parent, &s.group, &s.session}
	for field := range bytes.FieldsSeq(b[bytes.LastIndexByte(b, ')')+1:]) {
		if into[0] != nil {
			n, err := strconv.Atoi(string(field))
			if err != nil || n < 0 {
				return stat{}, false
			}
			*into[0] = n
		}
		if into = into[1:]; len(into) == 0 {
			return s, true
		}
	}
	return stat{}, false
}

// readCgroup returns the "0::" line of proc_pid_cgroup, the only one that
// counts where version 1 hierarchies are mounted beside it.
func readCgroup(pid int) string {
	var buf [8192]byte
	b := readProc(pid, "cgroup", buf[:])
	for line := range bytes.Lines(b) {
		if path, ok := bytes.CutPrefix(line, []byte("0::")); ok {
			return string(bytes.TrimSuffix(path, []byte("\n")))
		}
	}
	return ""
}

// Lineage is what Message.Lineage and Message.Cgroup are, for any process: its
// group, its session and its ancestors, and where it is.
func Lineage(pid int) (line []int, cgroup string) { return lineage(pid) }
