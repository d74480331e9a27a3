package activation

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// option is one setting of a socket that is a number to the kernel.
type option struct {
	name   string
	unit   string // the key in a .socket unit, for sockets that systemd bound
	fixed  string // not empty: why it cannot be changed once bound
	resets bool   // a fresh socket tells what "not configured" means
	lock   int    // the bit of SO_BUF_LOCK that setting it turns on
	spec   func(Spec) (value int, configured bool)
	get    func(fd int) (int, error)
	set    func(fd, value int) error
}

const boundFor = "it cannot be changed on a bound socket: choose another address, or stop and start the pool"

// options lists what applies to an endpoint, in the order in which a new
// socket gets it, before the bind.
func options(e endpoint) []option {
	flag := func(name, unit, fixed string, level, opt int, spec func(Spec) *bool) option {
		return option{
			name: name, unit: unit, fixed: fixed, resets: true,
			spec: func(s Spec) (int, bool) {
				v := spec(s)
				if v == nil {
					return 0, false
				}
				return number(*v), true
			},
			get: func(fd int) (int, error) { return unix.GetsockoptInt(fd, level, opt) },
			set: func(fd, v int) error { return unix.SetsockoptInt(fd, level, opt, v) },
		}
	}
	buffer := func(name, unit string, opt, lock int, spec func(Spec) uint64) option {
		return option{
			name: name, unit: unit, resets: true, lock: lock,
			// The kernel doubles what it is given and reports the double.
			spec: func(s Spec) (int, bool) { return 2 * int(spec(s)), spec(s) != 0 },
			get:  func(fd int) (int, error) { return unix.GetsockoptInt(fd, unix.SOL_SOCKET, opt) },
			set:  func(fd, v int) error { return setBuffer(fd, opt, v) },
		}
	}
	list := []option{
		buffer("receive_buffer", "ReceiveBuffer=", unix.SO_RCVBUF, rcvbufLock, func(s Spec) uint64 { return s.ReceiveBuffer }),
		buffer("send_buffer", "SendBuffer=", unix.SO_SNDBUF, sndbufLock, func(s Spec) uint64 { return s.SendBuffer }),
		{
			name: "nonblocking", unit: "NonBlocking=",
			spec: func(s Spec) (int, bool) { return number(s.NonBlocking != nil && *s.NonBlocking), s.NonBlocking != nil },
			get: func(fd int) (int, error) {
				v, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
				return number(v&unix.O_NONBLOCK != 0), err
			},
			set: func(fd, v int) error { return unix.SetNonblock(fd, v != 0) },
		},
	}
	if e.network == "tcp" || e.network == "udp" {
		free := flag("free_bind", "FreeBind=", boundFor, unix.SOL_IP, unix.IP_FREEBIND, func(s Spec) *bool { return s.FreeBind })
		if e.domain() == unix.AF_INET6 {
			free = flag("free_bind", "FreeBind=", boundFor, unix.SOL_IPV6, unix.IPV6_FREEBIND, func(s Spec) *bool { return s.FreeBind })
		}
		if e.ip.Addr() == netip.IPv6Unspecified() {
			list = append(list, flag("bind_ipv6_only", "BindIPv6Only=", boundFor, unix.SOL_IPV6, unix.IPV6_V6ONLY, func(s Spec) *bool {
				switch s.BindIPv6Only {
				case "both":
					return new(false)
				case "ipv6-only":
					return new(true)
				}
				return nil
			}))
		}
		list = append(list, free,
			flag("reuse_port", "ReusePort=", boundFor, unix.SOL_SOCKET, unix.SO_REUSEPORT, func(s Spec) *bool { return s.ReusePort }))
	}
	if e.network == "tcp" {
		list = append(list,
			flag("keep_alive", "KeepAlive=", "", unix.SOL_SOCKET, unix.SO_KEEPALIVE, func(s Spec) *bool { return s.KeepAlive }),
			flag("no_delay", "NoDelay=", "", unix.SOL_TCP, unix.TCP_NODELAY, func(s Spec) *bool { return s.NoDelay }),
			option{
				name: "defer_accept", unit: "DeferAcceptSec=", resets: true,
				spec: func(s Spec) (int, bool) {
					return int((s.DeferAccept + time.Second - 1) / time.Second), s.DeferAccept != 0
				},
				get: func(fd int) (int, error) { return unix.GetsockoptInt(fd, unix.SOL_TCP, unix.TCP_DEFER_ACCEPT) },
				set: func(fd, v int) error { return unix.SetsockoptInt(fd, unix.SOL_TCP, unix.TCP_DEFER_ACCEPT, v) },
			})
	}
	return list
}

// prepareSocket gives a new, unbound socket its options.
func prepareSocket(fd int, e endpoint, s Spec) error {
	for _, o := range options(e) {
		if v, configured := o.spec(s); configured {
			if err := o.set(fd, v); err != nil {
				return fmt.Errorf("set %s: %w", o.name, err)
			}
		}
	}
	return nil
}

// change is one step of turning a bound socket's old options into new ones. A
// do that fails has changed nothing.
type change struct {
	name     string
	do, undo func() error
}

// socketChanges finds what a bound socket needs to get from the spec it has
// (nil: unknown, it was inherited) to the one wanted. Only options whose
// configuration differs are looked at: what a worker set on its own is the
// worker's business. Nothing is changed yet.
func socketChanges(l Listener, e endpoint, old *Spec, want Spec) ([]change, error) {
	var changes []change
	for _, o := range options(e) {
		value, configured, differs, err := o.wanted(l, e, old, want)
		if err != nil {
			return nil, err
		}
		if !differs {
			continue
		}
		c, err := o.change(l, value, configured)
		if err != nil {
			return nil, err
		}
		if c != nil {
			changes = append(changes, *c)
		}
	}
	if !e.stream() || old == nil && want.Backlog == 0 || old != nil && old.Backlog == want.Backlog ||
		want.Backlog == 0 && l.Origin == Systemd {
		return changes, nil
	}
	_, have, err := Queue(l)
	if err != nil {
		have = backlog(Spec{})
	}
	return append(changes, change{
		name: "set backlog of " + l.Address,
		do:   func() error { return unix.Listen(l.FD, backlog(want)) },
		undo: func() error { return unix.Listen(l.FD, have) },
	}), nil
}

// wanted is the value that an option is to have, and whether that may differ
// from what the socket has.
func (o option) wanted(l Listener, e endpoint, old *Spec, want Spec) (value int, configured, differs bool, err error) {
	value, configured = o.spec(want)
	if old != nil {
		if v, was := o.spec(*old); v == value && was == configured {
			return value, configured, false, nil
		}
	}
	if configured {
		return value, true, true, nil
	}
	// Back to the default where there is one. systemd's sockets had values of
	// systemd's before, which nobody remembers.
	if old == nil || !o.resets || l.Origin == Systemd {
		return value, false, false, nil
	}
	if value, err = freshValue(e, o); err != nil {
		return 0, false, false, fmt.Errorf("find the default of %s: %w", o.name, err)
	}
	return value, false, true, nil
}

// change is the step that gives a socket another value of the option; nil if
// it has it already.
func (o option) change(l Listener, value int, configured bool) (*change, error) {
	have, err := o.get(l.FD)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", o.name, err)
	}
	locked := bufferLock(l.FD)
	switch {
	case have == value && (locked&o.lock != 0) == (configured && o.lock != 0):
		return nil, nil
	case o.fixed != "" && l.Origin == Systemd:
		return nil, fmt.Errorf("%s of %s: systemd bound this socket: set %s in its .socket unit", o.name, l.Address, o.unit)
	case o.fixed != "":
		return nil, fmt.Errorf("%s of %s: %s", o.name, l.Address, o.fixed)
	}
	undo := func() error {
		err := o.set(l.FD, have)
		setBufferLock(l.FD, o.lock, locked)
		return err
	}
	do := func() error {
		if err := o.set(l.FD, value); err != nil {
			return errors.Join(err, undo()) // a buffer may be half grown
		}
		if !configured {
			setBufferLock(l.FD, o.lock, 0)
		}
		return nil
	}
	return &change{name: "set " + o.name + " of " + l.Address, do: do, undo: undo}, nil
}

// freshValue asks a new socket of the same kind for its value.
func freshValue(e endpoint, o option) (int, error) {
	fd, err := unix.Socket(e.domain(), e.sockType()|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	return o.get(fd)
}

// backlog: the kernel cuts it to net.core.somaxconn.
func backlog(s Spec) int {
	if s.Backlog == 0 {
		return math.MaxInt32
	}
	return s.Backlog
}

// setBuffer sets a buffer to size as the kernel reports it, with privilege
// where the sysctl limit is in the way.
func setBuffer(fd, opt, size int) error {
	force, limit := unix.SO_RCVBUFFORCE, "net.core.rmem_max"
	if opt == unix.SO_SNDBUF {
		force, limit = unix.SO_SNDBUFFORCE, "net.core.wmem_max"
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, opt, size/2); err != nil {
		return err
	}
	have, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, opt)
	if err != nil || have >= size {
		return err
	}
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, size/2)
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%d bytes are beyond %s, which allows %d: raise it, or give CAP_NET_ADMIN: %w", size/2, limit, have/2, err)
	}
	return err
}

// A fixed buffer size switches the kernel's autotuning off by a bit of
// SO_BUF_LOCK; without clearing it a size could be set but never unset.
const (
	sndbufLock = 1 // SOCK_SNDBUF_LOCK
	rcvbufLock = 2 // SOCK_RCVBUF_LOCK
)

// bufferLock is 0 on kernels before 5.14, which do not tell.
func bufferLock(fd int) int {
	v, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BUF_LOCK)
	return v
}

// setBufferLock sets the bits of mask to those of value. Where the kernel
// cannot do it the size is right all the same, and the tuning stays off.
func setBufferLock(fd, mask, value int) {
	if mask != 0 {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BUF_LOCK, bufferLock(fd)&^mask|value&mask)
	}
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}
