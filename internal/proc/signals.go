package proc

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Signal is one signal that reached the master.
type Signal struct {
	Signal unix.Signal
	// PID is the sender's, 0 if unknown: HUP, INT, QUIT and TERM do not say.
	PID int
	// FromUser: a process sent it by kill(2) or the like, and not the terminal
	// or another part of the kernel (ssi_code of signalfd(2)). A HUP is not
	// from a user if the controlling terminal is gone, whoever passed it on.
	FromUser bool
}

// caught are the signals that no Go program can keep blocked: its runtime
// unblocks them in every thread (blockableSig in package runtime), so that a
// signalfd misses them. They come through os/signal.
var caught = []unix.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGABRT, unix.SIGTERM}

func isCaught(sig unix.Signal) bool { return slices.Contains(caught, sig) }

// Signals receives the master's signals. USR1, USR2, WINCH, TTIN, TTOU and the
// like stay in the kernel until they are taken, over an exec too. HUP, INT,
// QUIT and TERM cannot: see Close.
type Signals struct {
	pending chan struct{}

	fd    *os.File // signalfd
	conn  syscall.RawConn
	taken chan struct{}

	raw    chan os.Signal // from os/signal, in a hurry
	queue  chan unix.Signal
	notify []os.Signal // all that come so
	ignore []os.Signal // at Close
	tty    bool        // there was a controlling terminal
}

// WatchSignals watches for the signals of the set. EnsureBlocked comes first,
// with the same set.
func WatchSignals(set []unix.Signal) (*Signals, error) {
	var notify, ignore []os.Signal
	mask := unix.Sigset_t{}
	for _, sig := range set {
		if !isCaught(sig) {
			mask = union(mask, sigset(sig))
			continue
		}
		notify = append(notify, sig)
		if sig == unix.SIGHUP || sig == unix.SIGINT {
			ignore = append(ignore, sig)
		}
	}
	fd, err := unix.Signalfd(-1, &mask, unix.SFD_CLOEXEC|unix.SFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("make a signalfd: %w", err)
	}
	f := os.NewFile(uintptr(fd), "signalfd")
	conn, err := f.SyscallConn()
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("watch a signalfd: %w", err)
	}
	s := &Signals{
		pending: make(chan struct{}, 1),
		fd:      f, conn: conn, taken: make(chan struct{}, 1),
		// Room for bursts: os/signal drops what does not fit.
		raw: make(chan os.Signal, 64), queue: make(chan unix.Signal, 64),
		notify: notify, ignore: ignore, tty: hasTerminal(),
	}
	if len(notify) > 0 {
		signal.Notify(s.raw, notify...)
	}
	go s.watchBlocked()
	go s.watchCaught()
	return s, nil
}

// Pending yields when there may be something to Take.
func (s *Signals) Pending() <-chan struct{} { return s.pending }

func (s *Signals) tell() {
	select {
	case s.pending <- struct{}{}:
	default:
	}
}

func (s *Signals) watchBlocked() {
	for {
		if s.conn.Read(func(fd uintptr) bool { return polled(int(fd), unix.POLLIN) }) != nil {
			return
		}
		s.tell()
		if _, open := <-s.taken; !open {
			return
		}
	}
}

func (s *Signals) watchCaught() {
	defer close(s.queue)
	for sig := range s.raw {
		if f, ok := sig.(fence); ok {
			close(f)
			continue
		}
		s.queue <- sig.(syscall.Signal)
		s.tell()
	}
}

// Take gives the signals that have come, without waiting.
func (s *Signals) Take() []Signal {
	var list []Signal
	for {
		select {
		case sig := <-s.queue:
			list = append(list, s.describe(sig))
			continue
		default:
		}
		break
	}
	var si unix.SignalfdSiginfo
	buf := unsafe.Slice((*byte)(unsafe.Pointer(&si)), unsafe.Sizeof(si))
	_ = s.conn.Control(func(fd uintptr) {
		for {
			n, err := unix.Read(int(fd), buf)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if err != nil || n != len(buf) {
				return
			}
			list = append(list, Signal{unix.Signal(si.Signo), int(si.Pid), si.Code <= 0})
		}
	})
	select {
	case s.taken <- struct{}{}:
	default:
	}
	return list
}

func (s *Signals) describe(sig unix.Signal) Signal {
	return Signal{Signal: sig, FromUser: sig != unix.SIGHUP || !s.tty || hasTerminal()}
}

// Close ends the watch, for good or before an exec, and gives the signals that
// were caught but not taken: who gets some should act on them first. Until a
// watch begins again, here or in the next image, the blocked signals wait in
// the kernel, HUP and INT are ignored, and QUIT and TERM end the process as
// KILL would. Nothing better can be had by this process alone: the next
// image's runtime unblocks them before any code of ours runs. It is called
// once, by who calls Take.
func (s *Signals) Close() []Signal {
	if len(s.ignore) > 0 {
		signal.Ignore(s.ignore...)
	}
	signal.Stop(s.raw)
	close(s.raw)
	var list []Signal
	for sig := range s.queue {
		list = append(list, s.describe(sig))
	}
	_ = s.fd.Close()
	close(s.taken)
	return list
}

// End is Close for good: what is sent to a process on its last steps is too late to
// be acted on, and must not give it another exit status than its own.
func (s *Signals) End() {
	if len(s.notify) > 0 {
		signal.Ignore(s.notify...)
	}
	s.Close()
}

// fence passes through the way of the caught signals behind them.
type fence chan struct{}

func (fence) Signal() {}

func (fence) String() string { return "fence" }

// Settle gives the caught signals that had been delivered before it, for who
// is to execute another image while another process holds the later ones back
// (package handover). Unlike Close it changes no disposition: a signal on its
// way to a process that begins to ignore it is discarded (sigaction(2)), even
// if it is held. The watch goes on.
func (s *Signals) Settle() []Signal {
	spare := make(chan os.Signal, 1)
	signal.Notify(spare, s.notify...)
	signal.Stop(spare) // waits until what was caught has reached every channel
	passed := make(fence)
	go func() { s.raw <- passed }()
	var list []Signal
	for {
		select {
		case sig := <-s.queue:
			list = append(list, s.describe(sig))
			continue
		case <-passed:
		}
		break
	}
	for {
		select {
		case sig := <-s.queue:
			list = append(list, s.describe(sig))
		default:
			return list
		}
	}
}

// hasTerminal asks for the controlling terminal, which a hangup takes away.
func hasTerminal() bool {
	fd, err := unix.Open("/dev/tty", unix.O_RDONLY|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	_ = unix.Close(fd)
	return true
}
