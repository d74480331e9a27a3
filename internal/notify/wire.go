package notify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// retryFor is how long an unreachable manager is waited for, over all
// messages, before each gets one attempt only. It is long enough for one that
// re-executes itself, and a bound on the queue where NOTIFY_SOCKET is stale.
const retryFor = 10 * time.Second

// wire owns the socket to the manager. The socket is connected: only then
// does the kernel tell when the manager's full queue has room again.
type wire struct {
	ctx     context.Context
	address string
	conn    *net.UnixConn
	release func() bool
	outage  time.Time // since when nothing goes out; zero while all is well
}

func (w *wire) run(in <-chan entry, lost func(error)) {
	defer w.hangUp()
	for {
		select {
		case e := <-in:
			err := w.deliver(e)
			if err != nil && w.ctx.Err() == nil {
				lost(err)
			}
			e.done(err)
		case <-w.ctx.Done():
			return
		}
	}
}

// deliver sends one datagram, again and again while that can help.
func (w *wire) deliver(e entry) error {
	var rights []byte
	if len(e.fds) > 0 {
		rights = unix.UnixRights(e.fds...)
	}
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		err := w.try([]byte(e.state), rights)
		switch {
		case err == nil:
			w.outage = time.Time{}
			return nil
		case w.ctx.Err() != nil:
			return ErrClosed
		case !passing(err):
			return fmt.Errorf("notify systemd: %w", err)
		}
		w.hangUp()
		if w.outage.IsZero() {
			w.outage = time.Now()
		}
		if time.Since(w.outage) > retryFor {
			return fmt.Errorf("notify systemd: unreachable for %s: %w", retryFor, err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-w.ctx.Done():
			timer.Stop()
			return ErrClosed
		}
	}
}

func (w *wire) try(state, rights []byte) error {
	if w.conn == nil {
		conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Net: "unixgram", Name: w.address})
		if err != nil {
			return err
		}
		w.conn = conn
		w.release = context.AfterFunc(w.ctx, func() { conn.Close() })
	}
	// Raw, since package net sends no descriptors on a connected socket.
	raw, err := w.conn.SyscallConn()
	if err != nil {
		return err
	}
	var sendErr error
	err = raw.Write(func(fd uintptr) bool {
		sendErr = unix.EINTR
		for sendErr == unix.EINTR {
			_, sendErr = unix.SendmsgN(int(fd), state, rights, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
		}
		return sendErr != unix.EAGAIN
	})
	return errors.Join(err, sendErr)
}

func (w *wire) hangUp() {
	if w.conn == nil {
		return
	}
	w.release()
	w.conn.Close()
	w.conn = nil
}

// passing says whether err may be gone at the next attempt: a manager between
// two of its lives, or a kernel short of memory or of descriptors in flight. A
// full queue is none of them, for that the write itself waits.
func passing(err error) bool {
	for _, e := range []error{
		unix.ECONNREFUSED, unix.ECONNRESET, unix.ENOTCONN, unix.ENOENT, unix.EPIPE,
		unix.ENOBUFS, unix.ENOMEM, unix.ETOOMANYREFS, unix.EMFILE, unix.ENFILE,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// awaitHangup closes the read end of a pipe when its write end is closed
// everywhere, or ctx ends.
func awaitHangup(ctx context.Context, fd int) error {
	pipe := os.NewFile(uintptr(fd), "barrier")
	defer pipe.Close()
	stop := context.AfterFunc(ctx, func() { pipe.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	_, err := pipe.Read(make([]byte, 1))
	switch {
	case ctx.Err() != nil && errors.Is(err, os.ErrDeadlineExceeded):
		return context.Cause(ctx)
	case errors.Is(err, io.EOF):
		return nil
	case err == nil:
		return errors.New("the barrier was written to, not closed")
	}
	return err
}
