package control

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Stream is the answer to a slow call, one event a line.
type Stream struct {
	Change int  // the change that was asked for, 0 for Events
	Last   int  // for Events: the number of the last one that had happened before
	ends   bool // the change is the end of the pool
	body   io.ReadCloser
	lines  *bufio.Reader
}

// Next waits for an event, as such and as the line the server sent (without its
// end). io.EOF is the end that the server made; io.ErrUnexpectedEOF and others
// are a connection lost.
func (s *Stream) Next() (Event, []byte, error) {
	line, err := s.lines.ReadBytes('\n')
	if err != nil {
		if len(line) > 0 && errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return Event{}, nil, err
	}
	line = bytes.TrimRight(line, "\n")
	var e Event
	if err := json.Unmarshal(line, &e); err != nil {
		return Event{}, nil, fmt.Errorf("read an event: %w", err)
	}
	return e, line, nil
}

// Close ends the stream; it cancels nothing.
func (s *Stream) Close() { s.body.Close() }

// Follow reads a change's stream to its verdict and hands each event to each.
// A master that is replaced meanwhile, or dies and has a successor, only makes
// it longer: the change is then looked up at the new one. When the pool itself
// ends without a verdict, or ctx does, that is the error.
func (c *Client) Follow(ctx context.Context, s *Stream, each func(Event, []byte)) (Change, error) {
	number, ends := s.Change, s.ends
	verdict, ok := read(s, number, each)
	// The socket may outlive the master in systemd's hands: it connects, and
	// nobody answers.
	look, cancel := context.WithCancel(ctx)
	defer cancel()
	if c.gone != nil && !ok {
		go func() {
			_ = c.gone(look)
			cancel()
		}()
	}
	for last := time.Now(); !ok; {
		if ctx.Err() != nil {
			return Change{}, ctx.Err()
		}
		running, err := held(c.entry.Dir)
		if err == nil && !running && ends {
			return Change{Number: number, Kind: "stop", State: ChangeDone, Outcome: OutcomeOK, Message: "stopped"}, nil
		}
		if err == nil && !running && c.gone != nil {
			return Change{}, Errorf(ExitFailed, "the master of pool %s died before change %d had a verdict; fugue status %[1]s tells what its successor made of it", c.entry.Name, number)
		}
		if time.Since(last) >= c.patience {
			return Change{}, Errorf(ExitFailed, "pool %s went away before change %d had a verdict", c.entry.Name, number)
		}
		if running {
			var heard bool
			verdict, ok, heard, err = c.resume(look, number, each)
			if errors.Is(err, ErrNotFound) {
				return Change{}, Errorf(ExitFailed, "pool %s no longer knows of change %d: its verdict is lost", c.entry.Name, number)
			}
			if heard {
				last = time.Now()
			}
		}
		if !ok {
			select { // for a successor: nothing tells of its coming
			case <-time.After(retry):
			case <-ctx.Done():
			}
		}
	}
	return verdict, nil
}

// retry is how long to wait before asking again a pool whose master went away.
const retry = 100 * time.Millisecond

// resume asks a new master about a change, and follows on. It listens before it
// asks, so that the verdict cannot fall in between.
func (c *Client) resume(ctx context.Context, number int, each func(Event, []byte)) (verdict Change, ok, heard bool, err error) {
	s, err := c.Events(ctx, -1)
	if err != nil {
		return Change{}, false, false, err
	}
	defer s.Close()
	now, err := c.Change(ctx, number)
	if err != nil {
		return Change{}, false, false, err
	}
	if now.State == ChangeDone {
		e := Event{Time: now.Ended, Kind: "change", Change: &now}
		if line, err := json.Marshal(e); err == nil {
			each(e, line)
		}
		return now, true, true, nil
	}
	verdict, ok = read(s, number, each)
	return verdict, ok, true, nil
}

// read hands on events until the one that carries the change done.
func read(s *Stream, number int, each func(Event, []byte)) (Change, bool) {
	for {
		e, line, err := s.Next()
		if err != nil {
			return Change{}, false
		}
		each(e, line)
		if e.Change != nil && e.Change.Number == number && e.Change.State == ChangeDone {
			return *e.Change, true
		}
	}
}

// Gone returns a function that waits until the master that now runs has ended,
// or ctx has. It is to be called before the master is asked to stop, so that
// its PID cannot be another's by then.
func (c *Client) Gone() func(ctx context.Context) error {
	fd, err := unix.PidfdOpen(c.entry.PID, unix.PIDFD_NONBLOCK)
	if err != nil {
		return func(context.Context) error { return nil } // ended already, or of another PID namespace
	}
	// In the netpoller: a poll(2) of its own would outlive a ctx that ends.
	file := os.NewFile(uintptr(fd), "pidfd")
	return func(ctx context.Context) error {
		defer file.Close()
		conn, err := file.SyscallConn()
		if err != nil {
			return err
		}
		defer context.AfterFunc(ctx, func() { _ = file.SetReadDeadline(time.Now()) })()
		err = conn.Read(func(fd uintptr) bool {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
			return n > 0 || err != nil && !errors.Is(err, unix.EINTR)
		})
		return cmp.Or(ctx.Err(), err)
	}
}
