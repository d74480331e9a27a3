package e2e

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Process is one process of a unit.
type Process struct {
	PID     int // inside, as in MainPID and the journal
	Outside int // for signals from the test
	Command string
}

// Processes lists what is in the unit's cgroup and below, by PID inside.
func (sb *Sandbox) Processes(unit string) []Process {
	sb.t.Helper()
	group := sb.Show(unit, "ControlGroup")
	if group == "" || group == "/" {
		return nil // the unit has none when nothing of it runs
	}
	var found []Process
	err := filepath.WalkDir(filepath.Join(sb.cgroup, group), func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.Name() != "cgroup.procs" {
			return err
		}
		list, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, unix.ENODEV) && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, pid := range strings.Fields(string(list)) {
			if p, ok := process(pid); ok {
				found = append(found, p)
			}
		}
		return nil
	})
	if err != nil {
		sb.t.Fatal(err)
	}
	slices.SortFunc(found, func(a, b Process) int { return a.PID - b.PID })
	return found
}

// process looks up what is only in /proc; one that has gone meanwhile is none,
// nor is one that runs nothing any more: without memory it has no command.
func process(outside string) (Process, bool) {
	n, err := strconv.Atoi(outside)
	if err != nil {
		return Process{}, false
	}
	status, err := os.ReadFile("/proc/" + outside + "/status")
	if err != nil {
		return Process{}, false
	}
	p := Process{Outside: n}
	for line := range strings.Lines(string(status)) {
		if ids, ok := strings.CutPrefix(line, "NSpid:"); ok {
			all := strings.Fields(ids)
			p.PID, _ = strconv.Atoi(all[len(all)-1])
		}
	}
	command, _ := os.ReadFile("/proc/" + outside + "/cmdline")
	p.Command = strings.TrimSpace(strings.ReplaceAll(string(command), "\x00", " "))
	return p, p.Command != ""
}

// MainPID is the unit's main process, which must exist.
func (sb *Sandbox) MainPID(unit string) Process {
	sb.t.Helper()
	pid := sb.ShowInt(unit, "MainPID")
	for _, p := range sb.Processes(unit) {
		if p.PID == pid {
			return p
		}
	}
	sb.t.Fatalf("%s has no main process (MainPID %d)", unit, pid)
	return Process{}
}

// Signal sends sig to p.
func (sb *Sandbox) Signal(p Process, sig unix.Signal) {
	sb.t.Helper()
	if err := unix.Kill(p.Outside, sig); err != nil {
		sb.t.Fatalf("send %v to %v: %v", sig, p, err)
	}
}

// Kill ends p by SIGKILL and returns when it is gone.
func (sb *Sandbox) Kill(p Process) {
	sb.t.Helper()
	fd, err := unix.PidfdOpen(p.Outside, 0)
	if err != nil {
		sb.t.Fatalf("kill %v: %v", p, err)
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
		sb.t.Fatalf("kill %v: %v", p, err)
	}
	sb.awaitPidfd(fd, p)
}

// WaitGone returns when p has ended.
func (sb *Sandbox) WaitGone(p Process) {
	sb.t.Helper()
	fd, err := unix.PidfdOpen(p.Outside, 0)
	if errors.Is(err, unix.ESRCH) {
		return
	}
	if err != nil {
		sb.t.Fatal(err)
	}
	defer unix.Close(fd)
	sb.awaitPidfd(fd, p)
}

func (sb *Sandbox) awaitPidfd(fd int, p Process) {
	sb.t.Helper()
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(guard.Milliseconds()))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			sb.t.Fatal(err)
		case n == 0:
			sb.t.Fatalf("%v does not end", p)
		default:
			return
		}
	}
}
