package cgroup

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Limits are what a worker with all its processes may have. 0 leaves a limit as
// the kernel has it; math.MaxUint64 is none.
type Limits struct {
	MemoryMax, MemoryHigh uint64 // bytes
	TasksMax              uint64 // processes and threads
	CPUWeight             int    // 1 to 10000, beside the other workers and the master
}

// file is one of a cgroup, and what is written to it.
type file struct{ controller, name, text string }

func (l Limits) files() (list []file) {
	number := func(controller, name string, n uint64) {
		switch n {
		case 0:
		case math.MaxUint64:
			list = append(list, file{controller, name, "max"})
		default:
			list = append(list, file{controller, name, strconv.FormatUint(n, 10)})
		}
	}
	number("memory", "memory.high", l.MemoryHigh)
	number("memory", "memory.max", l.MemoryMax)
	if len(list) > 0 {
		// A worker that lost one of its processes would be neither alive nor dead.
		list = append(list, file{"memory", "memory.oom.group", "1"})
	}
	number("pids", "pids.max", l.TasksMax)
	number("cpu", "cpu.weight", uint64(l.CPUWeight))
	return list
}

func (l Limits) controllers() (names []string) {
	for _, f := range l.files() {
		names = append(names, f.controller)
	}
	return slices.Compact(names)
}

func (l Limits) set(dir string) error {
	for _, f := range l.files() {
		if err := write(filepath.Join(dir, f.name), f.text); err != nil {
			return fmt.Errorf("set %s to %s: %w", f.name, f.text, err)
		}
	}
	return nil
}

// write is one write(2) to a file that has to be there.
func write(path, text string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(text))
	return err
}

// Errors of Enable.
var (
	// ErrNoController: nothing that is above has given the unit the controller.
	ErrNoController = errors.New("the controller is not there")
	// ErrInside: this process is in the unit's cgroup itself. The kernel has no
	// controllers below a cgroup that has processes of its own; and would they be
	// turned on, systemd could not start a main process there again, beside the
	// workers of one that died.
	ErrInside = errors.New("the master is in the cgroup of the unit itself")
)

// evacuations bounds how often processes are moved out of the way: one may fork
// between any two steps.
const evacuations = 10

// Enable turns controllers on for the cgroups below. Processes that a
// predecessor left in the unit's own cgroup are moved into ours.
func (b Base) Enable(controllers []string) error {
	on, err := words(filepath.Join(b.Dir, "cgroup.subtree_control"))
	if err != nil {
		return err
	}
	there, err := words(filepath.Join(b.Dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	var more []string
	for _, name := range controllers {
		switch {
		case slices.Contains(on, name):
		case !slices.Contains(there, name):
			return fmt.Errorf("turn on the controller %s: %w", name, ErrNoController)
		case b.Self == "":
			return fmt.Errorf("turn on the controller %s: %w", name, ErrInside)
		default:
			more = append(more, "+"+name)
		}
	}
	if more == nil {
		return nil
	}
	for range evacuations {
		err = write(filepath.Join(b.Dir, "cgroup.subtree_control"), strings.Join(more, " "))
		if !errors.Is(err, unix.EBUSY) {
			break
		}
		b.evacuate()
	}
	if err != nil {
		return fmt.Errorf("turn on controllers in %s, %s: %w", b.Path, strings.Join(more, " "), err)
	}
	return nil
}

// evacuate moves what is in the unit's own cgroup to where we are. Who ends
// meanwhile is out of the way as well.
func (b Base) evacuate() {
	pids, _ := words(filepath.Join(b.Dir, "cgroup.procs"))
	for _, pid := range pids {
		_ = write(filepath.Join(b.Dir, b.Self, "cgroup.procs"), pid)
	}
}

// words reads a file of the kernel's that has one list.
func words(path string) ([]string, error) {
	b, err := os.ReadFile(path)
	return strings.Fields(string(b)), err
}

// Machine lists the controllers that this machine has for cgroups of version 2,
// as far as that can be seen from here. Those that version 1 uses are not among
// them, nor those that the kernel was started without.
func Machine(mountinfo string) []string {
	for line := range strings.Lines(mountinfo) {
		fields, rest, _ := strings.Cut(line, " - ")
		if f := strings.Fields(fields); len(f) > 4 && strings.HasPrefix(rest, "cgroup2 ") {
			list, _ := words(filepath.Join(f[4], "cgroup.controllers"))
			return list
		}
	}
	return nil
}
