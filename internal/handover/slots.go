package handover

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc64"
	"io"

	"golang.org/x/sys/unix"
)

// What Read finds instead of a payload.
var (
	// ErrEmpty: nothing was ever written.
	ErrEmpty = errors.New("the state is empty: it was never written")
	// ErrDamaged: something was written, but neither slot is whole. A process
	// that is killed while it writes does not do that: it tears one slot only.
	ErrDamaged = errors.New("the state is damaged: neither of its two slots is whole")
)

// The format, for ever: two slots, each magic, sequence, length and checksum,
// little endian, then the payload. The checksum (CRC-64, ECMA) is over the
// magic, the sequence, the length and the payload. What is behind the payload
// is left from longer ones.
const (
	slotSize   = 16 << 20 // the second slot begins here; the file is sparse
	headerSize = 32
	magic      = "fugue\x00S1"

	// MaxPayload is the largest payload, in bytes.
	MaxPayload = slotSize - headerSize
)

// Slots is a file that is never without a whole state: of two slots, the older
// is written. A process that is killed at any instant of that leaves the other.
// One process writes at a time, the holder of the pool's lock; any may read.
//
// It is not safe for concurrent use.
type Slots struct {
	fd   int
	name string // for errors
	next int    // the slot to write
	seq  uint64 // the newest whole one's, 0 if there is none
}

// newSlots takes up the file where its last writer left it.
func newSlots(fd int, name string) (*Slots, error) {
	s := &Slots{fd: fd, name: name}
	newest, err := s.newest()
	if err != nil && !errors.Is(err, ErrEmpty) && !errors.Is(err, ErrDamaged) {
		return nil, err
	}
	if err == nil {
		s.next, s.seq = 1-newest.index, newest.seq
	}
	return s, nil
}

// FD is the descriptor: close-on-exec, which Exec and Rehearse see to.
func (s *Slots) FD() int { return s.fd }

// Close closes the file. What was written stays.
func (s *Slots) Close() error {
	fd := s.fd
	s.fd = -1
	if err := unix.Close(fd); err != nil {
		return fmt.Errorf("close %s: %w", s.name, err)
	}
	return nil
}

// Write makes payload the newest state. When it returns nil, Read gives this
// payload or a later one, whatever becomes of the process (not of the machine:
// nothing is synced, for a state is of use only as long as its workers live).
// After an error the state before is still there.
func (s *Slots) Write(payload []byte) error {
	if len(payload) > MaxPayload {
		return fmt.Errorf("write %s: the state has %d bytes, a slot holds %d: what came before stays", s.name, len(payload), MaxPayload)
	}
	b := encodeSlot(s.seq+1, payload)
	at := int64(s.next) * slotSize
	n, err := unix.Pwrite(s.fd, b, at)
	for errors.Is(err, unix.EINTR) {
		n, err = unix.Pwrite(s.fd, b, at)
	}
	if err == nil && n < len(b) {
		err = io.ErrShortWrite // no room: the slot is torn, and written again next time
	}
	if err != nil {
		return fmt.Errorf("write %s: %w: the state before it stays", s.name, err)
	}
	s.seq++
	s.next = 1 - s.next
	return nil
}

// Read gives the newest payload that is whole: ErrEmpty if there was never one,
// ErrDamaged if there was, or what the system said.
func (s *Slots) Read() ([]byte, error) {
	found, err := s.newest()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", s.name, err)
	}
	return found.payload, nil
}

// slot is a whole one.
type slot struct {
	index   int
	seq     uint64
	payload []byte
}

func (s *Slots) newest() (slot, error) {
	var best slot
	blank := 0
	for i := range 2 {
		found, err := decodeSlot(io.NewSectionReader(reader(s.fd), int64(i)*slotSize, slotSize))
		switch {
		case errors.Is(err, ErrEmpty):
			blank++
		case errors.Is(err, ErrDamaged):
		case err != nil:
			return slot{}, err
		case found.seq > best.seq:
			best, best.index = found, i
		}
	}
	switch {
	case best.seq > 0:
		return best, nil
	case blank == 2:
		return slot{}, ErrEmpty
	}
	return slot{}, ErrDamaged
}

var table = crc64.MakeTable(crc64.ECMA)

func encodeSlot(seq uint64, payload []byte) []byte {
	b := make([]byte, headerSize+len(payload))
	copy(b, magic)
	binary.LittleEndian.PutUint64(b[8:], seq)
	binary.LittleEndian.PutUint64(b[16:], uint64(len(payload)))
	copy(b[headerSize:], payload)
	binary.LittleEndian.PutUint64(b[24:], checksum(b))
	return b
}

// checksum leaves its own place out.
func checksum(b []byte) uint64 {
	return crc64.Update(crc64.Checksum(b[:24], table), table, b[headerSize:])
}

// decodeSlot reads one slot: ErrEmpty if nothing is there, ErrDamaged if it is
// not whole, or what the reader said.
func decodeSlot(r io.Reader) (slot, error) {
	header := make([]byte, headerSize)
	switch _, err := io.ReadFull(r, header); {
	case errors.Is(err, io.EOF):
		return slot{}, ErrEmpty
	case errors.Is(err, io.ErrUnexpectedEOF):
		return slot{}, ErrDamaged
	case err != nil:
		return slot{}, err
	}
	if [headerSize]byte(header) == ([headerSize]byte{}) {
		return slot{}, ErrEmpty // a hole before the other slot
	}
	length := binary.LittleEndian.Uint64(header[16:])
	if string(header[:8]) != magic || length > MaxPayload {
		return slot{}, ErrDamaged
	}
	whole := make([]byte, headerSize+length)
	copy(whole, header)
	switch _, err := io.ReadFull(r, whole[headerSize:]); {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return slot{}, ErrDamaged
	case err != nil:
		return slot{}, err
	}
	seq := binary.LittleEndian.Uint64(whole[8:])
	if binary.LittleEndian.Uint64(whole[24:]) != checksum(whole) || seq == 0 {
		return slot{}, ErrDamaged
	}
	return slot{seq: seq, payload: whole[headerSize:]}, nil
}

// reader reads at an offset: the descriptor may be one that another process
// reads too, and the offset is theirs together.
type reader int

func (r reader) ReadAt(b []byte, at int64) (int, error) {
	total := 0
	for total < len(b) {
		n, err := unix.Pread(int(r), b[total:], at+int64(total))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return total, err
		case n == 0:
			return total, io.EOF
		default:
			total += n
		}
	}
	return total, nil
}
