package logs

import (
	"bytes"
	"slices"
	"sync"
)

const (
	maxRelayed = 16 << 10 // a longer line is split
	tailLines  = 10
	tailBytes  = 1 << 10 // kept of a line in a tail
)

// lines cuts a stream into lines, gives each its prefix and keeps the last.
type lines struct {
	prefix  string
	partial []byte // the beginning of a line whose end has not come
	out     []byte // reused

	// A tail is asked for while the reader waits in a read.
	mu   sync.Mutex
	tail []string
}

// feed takes what was read and gives the whole lines that it completes.
func (l *lines) feed(b []byte) []byte {
	l.out = l.out[:0]
	for len(b) > 0 {
		line, rest, whole := bytes.Cut(b, []byte{'\n'})
		if room := maxRelayed - len(l.partial); len(line) > room {
			l.partial = append(l.partial, line[:room]...)
			b = b[room:]
			l.emit()
			continue
		}
		l.partial = append(l.partial, line...)
		b = rest
		if whole {
			l.emit()
		}
	}
	return l.out
}

// end gives the last line, which lacks its newline.
func (l *lines) end() []byte {
	l.out = l.out[:0]
	if len(l.partial) > 0 {
		l.emit()
	}
	return l.out
}

func (l *lines) emit() {
	l.out = append(l.out, l.prefix...)
	l.out = append(l.out, l.partial...)
	l.out = append(l.out, '\n')
	l.mu.Lock()
	if len(l.tail) == tailLines {
		l.tail = slices.Delete(l.tail, 0, 1)
	}
	l.tail = append(l.tail, string(l.partial[:min(len(l.partial), tailBytes)]))
	l.mu.Unlock()
	l.partial = l.partial[:0]
}

func (l *lines) last() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.tail)
}
