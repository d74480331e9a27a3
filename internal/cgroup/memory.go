package cgroup

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Memory is what all that is in a worker's cgroup uses, in bytes, as the kernel
// counts it: its own pages, shared memory, and what the kernel keeps for it. The
// cache of files is left out: it grows with whatever a worker reads or logs, and
// the kernel takes it back when it needs it. The error is fs.ErrNotExist where the
// cgroup has no memory controller.
func (b Base) Memory(path string) (uint64, error) {
	dir, err := b.dirOf(path)
	if err != nil {
		return 0, err
	}
	text, err := os.ReadFile(filepath.Join(dir, "memory.current"))
	if err != nil {
		return 0, err
	}
	used, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read memory.current of %s: %w", path, err)
	}
	for _, name := range []string{"inactive_file", "active_file"} {
		cache, err := counter(filepath.Join(dir, "memory.stat"), name)
		if err != nil {
			return 0, err
		}
		// The two files are read one after the other, and the kernel counts in
		// batches: the parts may come to more than the whole.
		used -= min(used, uint64(cache))
	}
	return used, nil
}

// Processes lists what is in a worker's cgroup and those below it.
func (b Base) Processes(path string) (pids []int) {
	dir, err := b.dirOf(path)
	if err != nil {
		return nil
	}
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.Name() != "cgroup.procs" {
			return nil //nolint:nilerr // what ends meanwhile uses nothing
		}
		list, _ := words(path)
		for _, text := range list {
			if pid, err := strconv.Atoi(text); err == nil && pid > 0 {
				pids = append(pids, pid)
			}
		}
		return nil
	})
	return pids
}
