package handover

import (
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Exec replaces this process by the binary at path, with args as its whole
// argv, and env. The descriptors of keep, the state's and the guard's (nil:
// none) cross over; all others are expected to be close-on-exec. It returns
// only with an error, and then all is as it was: every flag, and the guard,
// which still holds signals back until it is released.
//
// A binary that can be executed but dies of itself is not found out here: that
// is what Rehearse is for. Only a truncated one is, because between the
// rehearsal and now an upgrade may have begun to write a file in place.
func Exec(path string, args, env []string, state int, keep []int, guard *Guard) error {
	if err := whole(path); err != nil {
		return &fs.PathError{Op: "exec", Path: path, Err: err}
	}
	word := fmt.Sprintf("resume:%d", state)
	keep = append(slices.Clone(keep), state)
	if guard != nil {
		word += fmt.Sprintf(",%d,%d", guard.fd, guard.pid)
		keep = append(keep, guard.fd)
		defer guard.unhold()
		if err := guard.hold(); err != nil {
			return fmt.Errorf("exec %s: %w", path, err)
		}
	}
	// Another goroutine's fork would give a child what is to be kept.
	syscall.ForkLock.Lock()
	defer syscall.ForkLock.Unlock()
	undo, err := keepOpen(keep)
	defer undo()
	if err != nil {
		return fmt.Errorf("exec %s: %w", path, err)
	}
	err = syscall.Exec(path, args, setVariable(env, word))
	return &fs.PathError{Op: "exec", Path: path, Err: err}
}

// keepOpen takes close-on-exec away; undo gives it back to those that had it.
func keepOpen(fds []int) (undo func(), err error) {
	var changed []int
	undo = func() {
		for _, fd := range changed {
			unix.CloseOnExec(fd)
		}
	}
	for _, fd := range fds {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err == nil && flags&unix.FD_CLOEXEC != 0 {
			if _, err = unix.FcntlInt(uintptr(fd), unix.F_SETFD, flags&^unix.FD_CLOEXEC); err == nil {
				changed = append(changed, fd)
			}
		}
		if err != nil {
			return undo, fmt.Errorf("keep descriptor %d: %w", fd, err)
		}
	}
	return undo, nil
}

func setVariable(env []string, value string) []string {
	env = slices.DeleteFunc(slices.Clone(env), func(entry string) bool {
		return strings.HasPrefix(entry, Variable+"=")
	})
	return append(env, Variable+"="+value)
}

// whole refuses an ELF file that ends before its segments do, with ENOEXEC:
// the kernel maps it all the same, and the process dies of SIGBUS when it is
// too late to go back (elf(5); the 64-bit kind, which is all that is built).
// What it cannot judge it leaves to the kernel.
func whole(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return nil //nolint:nilerr // a binary need not be readable; exec says what is wrong
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil //nolint:nilerr // as above
	}
	var header [64]byte
	if n, _ := io.ReadFull(f, header[:]); n < len(header) || string(header[:5]) != "\x7fELF\x02" || header[5] != 1 {
		return nil
	}
	const entry = 56 // bytes of a program header
	at, n := binary.LittleEndian.Uint64(header[32:]), binary.LittleEndian.Uint16(header[56:])
	size := uint64(info.Size())
	for i := range uint64(n) {
		var p [entry]byte
		if _, err := f.ReadAt(p[:], int64(at+i*entry)); err != nil {
			return unix.ENOEXEC
		}
		if from, length := binary.LittleEndian.Uint64(p[8:]), binary.LittleEndian.Uint64(p[32:]); from > size || length > size-from {
			return unix.ENOEXEC
		}
	}
	return nil
}
