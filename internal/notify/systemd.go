package notify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// ErrClosed is the error of a message that Close left unsent.
var ErrClosed = errors.New("notify systemd: closed")

// Systemd is the way to the service manager. Messages arrive in the order in
// which they were sent. Sending never waits: PID 1 does not read for seconds
// during a daemon-reload, and a supervisor that waited for it would let its
// workers down. A nil *Systemd is valid and says nothing, which is what a
// process that no manager asked to report wants. All methods may be called
// from any goroutine.
type Systemd struct {
	ctx    context.Context
	cancel context.CancelFunc
	in     chan entry // callers → queue
	out    chan entry // queue → wire
	ended  sync.WaitGroup
	loss   atomic.Pointer[Loss]
}

// Loss tells of messages that the manager did not take.
type Loss struct {
	Count int
	Last  error // of the latest one
}

// entry is one datagram on its way, the owner of its descriptors.
type entry struct {
	state  string
	fds    []int
	status bool        // a newer one makes it pointless
	sent   func(error) // called once, may be nil
}

func (e entry) done(err error) {
	for _, fd := range e.fds {
		unix.Close(fd)
	}
	if e.sent != nil {
		e.sent(err)
	}
}

// FromEnv returns the way to the manager that $NOTIFY_SOCKET names: a path, or
// "@name" for an abstract socket. It is nil when the variable is not set. The
// variable is not removed; workers must not inherit it.
func FromEnv(getenv func(string) string) (*Systemd, error) {
	address := getenv("NOTIFY_SOCKET")
	if address == "" {
		return nil, nil
	}
	if len(address) < 2 || !strings.ContainsAny(address[:1], "/@") {
		return nil, fmt.Errorf("read NOTIFY_SOCKET: %q is neither an absolute path nor @abstract; unset it to run without a service manager", address)
	}
	if limit := len(unix.RawSockaddrUnix{}.Path); len(address) > limit || address[0] == '/' && len(address) == limit {
		return nil, fmt.Errorf("read NOTIFY_SOCKET: %q has %d bytes, more than a socket address holds", address, len(address))
	}
	s := &Systemd{in: make(chan entry), out: make(chan entry)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.ended.Go(s.queue)
	s.ended.Go(func() {
		w := wire{ctx: s.ctx, address: address}
		w.run(s.out, s.lost)
	})
	return s, nil
}

// Send queues a message and returns at once; state is one or more lines of the
// form KEY=value (see Line). The descriptors go with it; the caller keeps its
// own and may close them at once. An error means that nothing was queued.
func (s *Systemd) Send(state string, fds ...int) error {
	return s.send(entry{state: state}, fds)
}

// Status queues the line that systemctl status shows. It replaces an older one
// that is still waiting: after a pause only the latest is true.
func (s *Systemd) Status(text string) error {
	line, err := Line("STATUS", text)
	if err != nil {
		return err
	}
	return s.send(entry{state: line, status: true}, nil)
}

// StoreFD puts a descriptor into the manager's store under name, to be handed
// to the next process of the service. With poll, systemd drops the descriptor
// as soon as it shows a hang-up or an error: right for sockets that listen,
// wrong for pidfds, FIFOs and sockets that do not listen yet. The manager does
// not answer when its store is full; a file that it holds already keeps its
// first name.
func (s *Systemd) StoreFD(name string, fd int, poll bool) error {
	if err := checkName(name); err != nil {
		return err
	}
	state := "FDSTORE=1\nFDNAME=" + name
	if !poll {
		state += "\nFDPOLL=0"
	}
	return s.Send(state, fd)
}

// RemoveFD drops every stored descriptor of that name. That there is none is
// no error.
func (s *Systemd) RemoveFD(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	return s.Send("FDSTOREREMOVE=1\nFDNAME=" + name)
}

// Barrier waits until the manager has read everything sent before it. Without
// it a process that stores a descriptor and exits may find it gone.
func (s *Systemd) Barrier(ctx context.Context) error {
	if s == nil {
		return nil
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return fmt.Errorf("make a pipe for the barrier: %w", err)
	}
	sent := make(chan error, 1)
	err := s.enqueue(entry{state: "BARRIER=1", fds: pipe[1:], sent: func(err error) { sent <- err }})
	if err != nil {
		unix.Close(pipe[0])
		return err
	}
	// A message that was never taken closes its end of the pipe too: only
	// after the send has succeeded does the end of the pipe mean anything.
	select {
	case err = <-sent:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		unix.Close(pipe[0])
		return fmt.Errorf("wait for systemd to take the queued messages: %w", err)
	}
	if err := awaitHangup(ctx, pipe[0]); err != nil {
		return fmt.Errorf("wait for systemd to read the queued messages: %w", err)
	}
	return nil
}

// Lost returns what the manager did not take since the start. It stays zero
// as long as the manager lives.
func (s *Systemd) Lost() Loss {
	if s == nil {
		return Loss{}
	}
	if l := s.loss.Load(); l != nil {
		return *l
	}
	return Loss{}
}

// Close gives up what is still queued; call Barrier first where that matters.
func (s *Systemd) Close() {
	if s == nil {
		return
	}
	s.cancel()
	s.ended.Wait()
}

// send checks e and queues it with copies of fds.
func (s *Systemd) send(e entry, fds []int) error {
	switch {
	case e.state == "":
		return errors.New("notify systemd: empty message")
	case len(e.state) > maxState:
		return fmt.Errorf("notify systemd: the message has %d bytes, systemd reads %d", len(e.state), maxState)
	case len(fds) > maxFDs:
		return fmt.Errorf("notify systemd: %d descriptors, one message takes %d", len(fds), maxFDs)
	case s == nil:
		return nil
	}
	for _, fd := range fds {
		dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			e.done(err)
			return fmt.Errorf("copy descriptor %d for systemd: %w", fd, err)
		}
		e.fds = append(e.fds, dup)
	}
	return s.enqueue(e)
}

func (s *Systemd) enqueue(e entry) error {
	select {
	case s.in <- e:
		return nil
	case <-s.ctx.Done():
		e.done(ErrClosed)
		return ErrClosed
	}
}

// queue holds what the wire has not taken yet. It does nothing else, so that
// it is always ready for the next caller.
func (s *Systemd) queue() {
	var waiting []entry
	defer func() {
		for _, e := range waiting {
			e.done(ErrClosed)
		}
	}()
	for {
		var next entry
		var out chan<- entry // nil, and so never ready, while nothing waits
		if len(waiting) > 0 {
			next, out = waiting[0], s.out
		}
		select {
		case e := <-s.in:
			if e.status {
				waiting = slices.DeleteFunc(waiting, func(old entry) bool { return old.status })
			}
			waiting = append(waiting, e)
		case out <- next:
			waiting = waiting[1:]
		case <-s.ctx.Done():
			return
		}
	}
}

// lost is called by the wire alone.
func (s *Systemd) lost(err error) {
	s.loss.Store(&Loss{Count: s.Lost().Count + 1, Last: err})
}
