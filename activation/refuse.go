package activation

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Stream reports whether connections wait at the listener.
func (l Listener) Stream() bool {
	return l.Network == "tcp" || l.Network == "unix" || l.Network == "unixpacket"
}

// Refusable reports whether the listener can be made to Refuse: a TCP socket
// that fugue bound. A unix socket that was shut down never listens again. One of
// a .socket unit would, and systemd does not look at it while the service runs;
// but should this process be killed, systemd listens there itself until the
// restart, meets a hangup and gives the unit up: the port is closed for good
// (tried with 252 and 257: "Got POLLHUP on a listening socket").
func (l Listener) Refusable() bool { return l.Network == "tcp" && l.Origin != Systemd }

// Refuse shuts a listener down for every process that holds it: whoever
// connects is refused at once, whoever waits to be accepted is reset. The
// address stays ours; Revive lets connections in again. One that is shut down
// is left alone.
func Refuse(l Listener) error {
	if !l.Refusable() {
		return fmt.Errorf("refuse connections to %s: only TCP sockets that fugue bound can be opened again", l.Address)
	}
	if err := hangUp(l); err != nil {
		return err
	}
	return keepPort(l)
}

// HangUp is Refuse for a listener that is about to be closed: for nobody, then,
// whatever copies of it are still on their way. It does nothing to one that is
// not Refusable.
func HangUp(l Listener) error {
	if !l.Refusable() {
		return nil
	}
	return hangUp(l)
}

func hangUp(l Listener) error {
	if err := unix.Shutdown(l.FD, unix.SHUT_RD); err != nil && !errors.Is(err, unix.ENOTCONN) {
		return fmt.Errorf("refuse connections to %s: %w", l.Address, err)
	}
	return nil
}

// keepPort takes a port again that the kernel had chosen: a shutdown gives it
// free, and a mere listen would come up on another.
func keepPort(l Listener) error {
	e, err := endpointOf(l)
	if err != nil {
		return nil //nolint:nilerr // its address cannot be lost
	}
	sa, err := e.sockaddr()
	if err != nil {
		return nil //nolint:nilerr // nor can that of an interface that is gone be had again
	}
	if err := unix.Bind(l.FD, sa); err != nil && !errors.Is(err, unix.EINVAL) { // EINVAL: it is still bound
		return bindError(e, err, nil)
	}
	return nil
}
