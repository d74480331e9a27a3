package ready

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// process is one entry of /proc, held open.
type process struct {
	pid int
	dir int
}

func openProcess(pid int) (process, error) {
	for {
		dir, err := unix.Open("/proc/"+strconv.Itoa(pid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		switch err {
		case nil:
			return process{pid, dir}, nil
		case unix.EINTR:
		case unix.ENOENT:
			return process{}, fmt.Errorf("look at process %d: %w", pid, os.ErrProcessDone)
		default:
			return process{}, fmt.Errorf("look at process %d: %w", pid, err)
		}
	}
}

func (p process) close() { unix.Close(p.dir) }

// wrap turns the errors of a process that is gone into os.ErrProcessDone. What
// is left are those of a look that is not permitted.
func wrap(err error) error {
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) {
		return os.ErrProcessDone
	}
	return err
}

// read reads the whole of a small file below p.
func (p process) read(name string) ([]byte, error) {
	var out []byte
	err := p.stream(name, func(chunk []byte) bool {
		out = append(out, chunk...)
		return true
	})
	return out, err
}

// stream hands the content of a file below p to more, until that returns false.
func (p process) stream(name string, more func([]byte) bool) error {
	fd, err := p.open(name, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	buf := make([]byte, 4096)
	for {
		n, err := unix.Read(fd, buf)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return wrap(err)
		case n == 0 || !more(buf[:n]):
			return nil
		}
	}
}

// lines hands each line of a file below p to more, until that returns false.
func (p process) lines(name string, more func([]byte) bool) error {
	var rest []byte
	err := p.stream(name, func(chunk []byte) bool {
		rest = append(rest, chunk...)
		for {
			line, after, ok := bytes.Cut(rest, []byte{'\n'})
			if !ok {
				return true
			}
			if !more(line) {
				rest = nil
				return false
			}
			rest = after
		}
	})
	if err == nil && len(rest) > 0 {
		more(rest)
	}
	return err
}

// numbers hands the numeric names of a directory below p, in its own order, to
// more, until that returns false.
func (p process) numbers(name string, more func(int) bool) error {
	fd, err := p.open(name, unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	buf := make([]byte, 4096)
	for {
		n, err := unix.ReadDirent(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return wrap(err)
		}
		if n == 0 {
			return nil
		}
		_, _, names := unix.ParseDirent(buf[:n], -1, nil)
		for _, name := range names {
			if number, err := strconv.Atoi(name); err == nil && !more(number) {
				return nil
			}
		}
	}
}

func (p process) open(name string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(p.dir, name, unix.O_RDONLY|unix.O_CLOEXEC|flags, 0)
		if err != unix.EINTR {
			return fd, wrap(err)
		}
	}
}

// link returns what descriptor fd of p is: "socket:[123]", a path, ….
func (p process) link(fd int) (string, error) {
	var buf [64]byte // enough for all that is of interest
	n, err := unix.Readlinkat(p.dir, "fd/"+strconv.Itoa(fd), buf[:])
	if err != nil {
		return "", wrap(err)
	}
	return string(buf[:n]), nil
}

// memory reads from p's address space. It is short where the range is not
// wholly mapped.
func (p process) memory(address uint64, size int) ([]byte, error) {
	buf := make([]byte, size)
	local := []unix.Iovec{{Base: &buf[0]}}
	local[0].SetLen(size)
	n, err := unix.ProcessVMReadv(p.pid, local, []unix.RemoteIovec{{Base: uintptr(address), Len: size}}, 0)
	if err != nil {
		return nil, wrap(err)
	}
	return buf[:n], nil
}

// below returns the children of p.
func (l *looker) below(p process) []int {
	if !l.children {
		return childrenByParent(p.pid)
	}
	var pids []int
	seen := 0
	_ = p.numbers("task", func(tid int) bool {
		b, _ := p.read("task/" + strconv.Itoa(tid) + "/children")
		for field := range bytes.FieldsSeq(b) {
			if pid, err := strconv.Atoi(string(field)); err == nil {
				pids = append(pids, pid)
			}
		}
		seen++
		return seen < maxThreads
	})
	return pids
}

// childrenByParent finds children where the kernel has no list of them
// (CONFIG_PROC_CHILDREN): it asks every process for its parent.
func childrenByParent(parent int) []int {
	dir, err := unix.Open("/proc", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	proc := process{dir: dir}
	defer proc.close()
	var pids []int
	_ = proc.numbers(".", func(pid int) bool {
		b, _ := proc.read(strconv.Itoa(pid) + "/stat")
		if _, ppid, ok := parseStat(b); ok && ppid == parent {
			pids = append(pids, pid)
		}
		return true
	})
	return pids
}

// parseStat reads state and parent from proc_pid_stat(5): "PID (COMMAND) STATE
// PPID …". The command may contain anything; its last parenthesis ends it.
func parseStat(b []byte) (state byte, parent int, ok bool) {
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) < 2 || len(fields[0]) != 1 {
		return 0, 0, false
	}
	parent, err := strconv.Atoi(string(fields[1]))
	if err != nil || parent < 0 {
		return 0, 0, false
	}
	return fields[0][0], parent, true
}
