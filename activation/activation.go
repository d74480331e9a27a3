// Package activation owns the listening sockets of a pool: passed by systemd
// from .socket units, kept in its fd store, or bound here. A change is all or
// nothing: Prepare builds the next Set beside the current one, and only Commit
// closes anything. Sockets are raw fds, close-on-exec, and O_NONBLOCK is never
// touched unless the configuration asks, because it belongs to the description
// that all workers share; the path of a socket that systemd passed is never
// unlinked.
package activation

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Origin tells where a socket comes from, and so who looks after its path.
type Origin string

// The origins.
const (
	Systemd Origin = "systemd" // a .socket unit or OpenFile=; systemd owns it
	Store   Origin = "store"   // bound by an earlier fugue, back from the fd store
	Own     Origin = "own"     // bound by this process or fetched from a predecessor
)

// Listener is one socket of a Set. It is plain data and never changes: the
// whole of it may be written into a state and come back through Restore.
type Listener struct {
	Name    string // for LISTEN_FDNAMES
	FD      int
	Inode   uint64 // of the socket: the same in every process that holds it
	Network string // tcp, udp, unix, unixgram; only from systemd: unixpacket, other
	Address string // as getsockname(2) says: with the real port, never 0
	Origin  Origin
	Spec    Spec // zero for a socket that only systemd names

	// StoreName is the name in the fd store of one that fugue bound, unique and
	// the same for the socket's life, even when the configuration renames it.
	StoreName string
	// FDName is the name under which systemd passed a socket of its own.
	FDName string
	// PathDev and PathInode identify the file of a unix path that fugue bound;
	// zero for all others.
	PathDev, PathInode uint64
}

// storePrefix begins the names of listeners in the fd store.
const storePrefix = "fugue.listen."

// Set is an unchanging list of listeners in a stable order: as configured, then
// those that only systemd names, by name and address. A nil Set is empty.
type Set struct {
	listeners []Listener
	seq       uint64 // the last number used in a StoreName
}

// Restore rebuilds the Set whose listeners a master wrote down before it
// replaced itself by exec(2). Each fd must still be the socket it was.
func Restore(listeners []Listener) (*Set, error) {
	s := &Set{listeners: slices.Clone(listeners)}
	for _, l := range s.listeners {
		inode, err := socketID(l.FD)
		if err != nil {
			return nil, fmt.Errorf("restore listener %q: fd %d: %w", l.Name, l.FD, err)
		}
		if inode != l.Inode {
			return nil, fmt.Errorf("restore listener %q: fd %d is another file now", l.Name, l.FD)
		}
		s.seq = max(s.seq, storeSeq(l.StoreName))
	}
	for _, l := range s.listeners {
		unix.CloseOnExec(l.FD)
	}
	return s, nil
}

// Listeners returns a copy of the list.
func (s *Set) Listeners() []Listener {
	if s == nil {
		return nil
	}
	return slices.Clone(s.listeners)
}

// FDs returns the fds in the order of the Set.
func (s *Set) FDs() []int { return collect(s, func(l Listener) int { return l.FD }) }

// Names returns the names in the order of the Set, for LISTEN_FDNAMES.
func (s *Set) Names() []string { return collect(s, func(l Listener) string { return l.Name }) }

func collect[T any](s *Set, f func(Listener) T) []T {
	list := []T{}
	for _, l := range s.Listeners() {
		list = append(list, f(l))
	}
	return list
}

// Close closes all sockets of the Set. With unlink, paths that fugue bound are
// removed first, unless their Spec says otherwise: for a stop, not for a
// restart or an exec, when a successor takes the sockets over.
func (s *Set) Close(unlink bool) error {
	var errs []error
	for _, l := range s.Listeners() {
		errs = append(errs, closeListener(l, unlink))
	}
	return errors.Join(errs...)
}

func closeListener(l Listener, unlink bool) error {
	var err error
	if unlink && l.Origin != Systemd && l.Spec.removePath() {
		err = removePath(l.Address, l.file()) // before the close: see there
	}
	return errors.Join(err, closeFD(l.FD))
}

func closeFD(fd int) error {
	if err := unix.Close(fd); err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("close fd %d: %w", fd, err)
	}
	return nil
}

// AssertFlags sets O_NONBLOCK again where the configuration names a value and
// a worker changed it for all, and returns the names of those listeners.
// otherwise is the value for those whose Spec names none, nil to leave them
// alone. Cheap enough for every spawn.
func (s *Set) AssertFlags(otherwise *bool) (restored []string, err error) {
	for _, l := range s.Listeners() {
		want := cmp.Or(l.Spec.NonBlocking, otherwise)
		if want == nil {
			continue
		}
		flags, e := unix.FcntlInt(uintptr(l.FD), unix.F_GETFL, 0)
		if e == nil && (flags&unix.O_NONBLOCK != 0) == *want {
			continue
		}
		if e == nil {
			e = unix.SetNonblock(l.FD, *want)
		}
		if e != nil {
			err = errors.Join(err, fmt.Errorf("set O_NONBLOCK of listener %q: %w", l.Name, e))
			continue
		}
		restored = append(restored, l.Name)
	}
	return restored, err
}

func (l Listener) file() fileID { return fileID{l.PathDev, l.PathInode} }

// isPath: a unix socket in the file system.
func (l Listener) isPath() bool {
	return strings.HasPrefix(l.Network, "unix") && strings.HasPrefix(l.Address, "/")
}

func storeName(name string, seq uint64) string {
	return storePrefix + storedAs(name) + "." + strconv.FormatUint(seq, 10)
}

// storedAs is what a StoreName has room for of a name.
func storedAs(name string) string {
	const seqDigits = 20
	return name[:min(len(name), maxFDName-len(storePrefix)-1-seqDigits)]
}

// parseStoreName takes apart what storeName made.
func parseStoreName(s string) (name string, seq uint64, ok bool) {
	rest, ok := strings.CutPrefix(s, storePrefix)
	dot := strings.LastIndexByte(rest, '.')
	if !ok || dot < 1 {
		return "", 0, false
	}
	seq, err := strconv.ParseUint(rest[dot+1:], 10, 64)
	return rest[:dot], seq, err == nil
}

func storeSeq(s string) uint64 {
	_, seq, _ := parseStoreName(s)
	return seq
}
