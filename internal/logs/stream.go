package logs

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// A stream is one pipe, read through the netpoller.
type stream struct {
	file  *os.File // nil if it has ended before
	lines lines
	done  chan struct{}
	ended bool // and not detached; valid once done is closed
}

// newStream takes over fd, in failure too.
func newStream(fd int, label string, partial []byte, tail []string) (*stream, error) {
	s := &stream{lines: lines{prefix: label + " | ", partial: partial, tail: tail}, done: make(chan struct{})}
	if fd < 0 {
		return s, nil
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		closeAll(fd)
		return nil, fmt.Errorf("make the output pipe non-blocking: %w", err)
	}
	s.file = os.NewFile(uintptr(fd), "output")
	// Without the netpoller each pipe would hold a thread and Detach would hang.
	if err := s.file.SetReadDeadline(time.Time{}); err != nil {
		_ = s.file.Close()
		return nil, fmt.Errorf("watch the output pipe: %w", err)
	}
	return s, nil
}

func (s *stream) close() {
	if s.file != nil {
		_ = s.file.Close()
	}
}

// Most workers say little, and a thousand of them have two streams each: a buffer
// is small until something fills it.
const (
	smallBuffer = 512
	largeBuffer = 16 << 10
)

// run passes on until the end or until detach, and calls over then; errors of w
// are the loss of what was written, never of the stream.
func (s *stream) run(w io.Writer, over func()) {
	defer over()
	defer close(s.done)
	if s.file == nil {
		s.ended = true
		return
	}
	buf := make([]byte, smallBuffer)
	for {
		n, left, err := peek(s.file, buf)
		whole := bytes.LastIndexByte(buf[:n], '\n') + 1
		full := n == len(buf) && n < largeBuffer
		if !left || whole == 0 && !full {
			whole = n // a line that comes in pieces: its beginning is kept here
		}
		write(w, s.lines.feed(buf[:whole]))
		if left && whole > 0 {
			err = consume(s.file, buf[:whole])
		}
		if full {
			buf = make([]byte, largeBuffer)
		}
		if os.IsTimeout(err) {
			return
		}
		if err != nil {
			write(w, s.lines.end())
			_ = s.file.Close()
			s.ended = true
			return
		}
	}
}

func write(w io.Writer, b []byte) {
	if len(b) > 0 {
		_, _ = w.Write(b)
	}
}

// detach ends run and gives what it leaves; fd is -1 if the stream has ended.
func (s *stream) detach() (fd int, partial []byte, tail []string, err error) {
	if s.file != nil {
		_ = s.file.SetReadDeadline(time.Unix(1, 0))
	}
	<-s.done
	tail = s.lines.last()
	if s.ended {
		return -1, nil, tail, nil
	}
	fd = -1
	conn, err := s.file.SyscallConn()
	if err == nil {
		if e := conn.Control(func(n uintptr) { fd, err = unix.FcntlInt(n, unix.F_DUPFD_CLOEXEC, 0) }); e != nil {
			err = e
		}
	}
	_ = s.file.Close()
	return fd, slices.Clone(s.lines.partial), tail, err
}
