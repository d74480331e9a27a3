package proc

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// processesBelow are the processes of a cgroup and those below it, without self,
// and without what is in but or below.
func processesBelow(dir, but string, self int) ([]int, error) {
	var pids []int
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // a cgroup that went away
			return nil
		}
		if err != nil || !d.IsDir() {
			return err
		}
		if path == but {
			return filepath.SkipDir
		}
		f, err := os.Open(filepath.Join(path, "cgroup.procs"))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		defer f.Close()
		pids = append(pids, readPIDs(f)...)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the processes of a cgroup: %w", err)
	}
	return slices.DeleteFunc(pids, func(pid int) bool { return pid == self }), nil
}

// cgroupPath is the path in the line of version 2, "0::/path", of
// proc_pid_cgroup(5); hosts that use version 1 beside it have others.
func cgroupPath(text string) (path string) {
	for line := range strings.Lines(text) {
		if p, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			path = p
		}
	}
	return path
}

// cgroupDir is where a cgroup is in the file system, "" for a root.
// proc_pid_mountinfo(5) says where the hierarchy of version 2, or a part of
// it, is mounted.
func cgroupDir(own, mountinfo string) string {
	path := cgroupPath(own)
	if path == "" || path == "/" {
		return ""
	}
	for line := range strings.Lines(mountinfo) {
		fields, rest, _ := strings.Cut(line, " - ")
		f := strings.Fields(fields)
		if len(f) < 5 || !strings.HasPrefix(rest, "cgroup2 ") {
			continue
		}
		root, dir := unescape(f[3]), unescape(f[4])
		below, ok := strings.CutPrefix(path, strings.TrimSuffix(root, "/"))
		if ok && strings.HasPrefix(below, "/") {
			return filepath.Join(dir, below)
		}
	}
	return ""
}

// unescape undoes the octal escapes of mountinfo.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// readPIDs reads one number a line. A process outside our PID namespace is
// shown as 0.
func readPIDs(r io.Reader) []int {
	var pids []int
	for lines := bufio.NewScanner(r); lines.Scan(); {
		if pid, err := strconv.Atoi(lines.Text()); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids
}

// FetchSocket duplicates a descriptor of another process, see pidfd_getfd(2):
// it needs the right to ptrace that process. The new descriptor is
// close-on-exec.
func FetchSocket(pid, fd int) (int, error) {
	p, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return -1, fmt.Errorf("open process %d: %w", pid, err)
	}
	defer unix.Close(p)
	got, err := unix.PidfdGetfd(p, fd, 0)
	if err != nil {
		return -1, fmt.Errorf("fetch descriptor %d of process %d: %w", fd, pid, err)
	}
	return got, nil
}
