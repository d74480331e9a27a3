package proc

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// Unit is the cgroup (version 2) of a systemd unit that this process is in,
// perhaps in a part of it: what systemd runs beside the main process of a unit
// with Delegate= is in ".control" below.
type Unit struct {
	dir  string // in the file system
	path string // as in /proc/PID/cgroup
	self string // where below it we are
}

// Dir is the cgroup's directory.
func (u Unit) Dir() string { return u.dir }

// Path is what /proc/PID/cgroup calls the cgroup.
func (u Unit) Path() string { return u.path }

// Self is where below the cgroup this process is, with DelegateSubgroup= for
// instance; empty: in it.
func (u Unit) Self() string { return u.self }

// UnitCgroup finds the cgroup of our unit by its name.
func UnitCgroup(unit string) (Unit, error) {
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return Unit{}, fmt.Errorf("find the cgroup of %s: %w", unit, err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return Unit{}, fmt.Errorf("find the cgroup of %s: %w", unit, err)
	}
	in := cgroupPath(string(own))
	u := Unit{path: upTo(unit, in)}
	if u.path == "" {
		return Unit{}, fmt.Errorf("find the cgroup of %s: this process is in %q", unit, in)
	}
	u.self = strings.TrimPrefix(in[len(u.path):], "/")
	if u.dir = cgroupDir("0::"+u.path, string(mounts)); u.dir == "" {
		return Unit{}, fmt.Errorf("find the cgroup of %s: no cgroup2 file system has %q", unit, u.path)
	}
	return u, nil
}

// upTo cuts a path after its last element of that name; "" without one.
func upTo(name, of string) string {
	for of != "" && of != "/" && of != "." {
		if path.Base(of) == name {
			return of
		}
		of = path.Dir(of)
	}
	return ""
}

// Processes lists what is in the cgroup and those below it, without self.
func (u Unit) Processes(self int) ([]int, error) { return processesBelow(u.dir, "", self) }

// control is where systemd runs the other commands of a unit with Delegate=.
const control = ".control"

// Strangers are the processes of the cgroup and those below it, without self:
// what an earlier master of the same unit has left. What systemd runs beside the
// main process of a unit with Delegate= is none.
func (u Unit) Strangers(self int) ([]int, error) {
	return processesBelow(u.dir, filepath.Join(u.dir, control), self)
}

// Has reports whether the process of that number is in the cgroup now. Asked
// after its pidfd was opened, it tells whether that is one of the unit's: a
// process that took the number over later is not behind the pidfd.
func (u Unit) Has(pid int) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		return false
	}
	in := cgroupPath(string(text))
	return in == u.path || strings.HasPrefix(in, u.path+"/")
}
