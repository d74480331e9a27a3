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

// The format, for ever: two slots, each a frame with the whole state, and behind
// it frames with what was appended to it. A frame is magic, sequence, length and
// checksum, little endian, then the payload. The checksum (CRC-64, ECMA) is over
// the magic, the sequence, the length and the payload. The sequence counts the
// frames of both slots: one behind another that does not have the next number is
// left from an earlier time, as is everything after it.
const (
	slotSize   = 16 << 20 // the second slot begins here; the file is sparse
	headerSize = 32
	magic      = "fugue\x00S1" // of a whole state
	magicMore  = "fugue\x00M1" // of what was appended

	// MaxPayload is the largest payload, in bytes.
	MaxPayload = slotSize - headerSize

	// little may be appended to the smallest state: below it a write costs the
	// same, however long it is.
	little = 64 << 10
)

// Slots is a file that is never without a whole state: of two slots, the older
// is written. A process that is killed at any instant of that leaves the other.
// What is appended to the newer one counts as soon as it is whole. One process
// writes at a time, the holder of the pool's lock; any may read.
//
// It is not safe for concurrent use.
type Slots struct {
	fd   int
	name string // for errors
	next int    // the slot to write, the older one
	seq  uint64 // of the newest whole frame, 0 if there is none
	base int    // bytes of the newer slot's first payload
	end  int    // of the newer slot's last whole frame, from its beginning
}

// newSlots takes up the file where its last writer left it.
func newSlots(fd int, name string) (*Slots, error) {
	s := &Slots{fd: fd, name: name}
	newest, err := s.newest()
	if err != nil && !errors.Is(err, ErrEmpty) && !errors.Is(err, ErrDamaged) {
		return nil, err
	}
	if err == nil {
		s.next, s.seq, s.base, s.end = 1-newest.index, newest.seq, newest.base, newest.end
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
	if err := s.put(encodeFrame(magic, s.seq+1, payload), s.next, 0); err != nil {
		return err
	}
	s.seq++
	s.next = 1 - s.next
	s.base, s.end = len(payload), headerSize+len(payload)
	return nil
}

// Room is how many bytes may be appended before it is time to write the whole
// again: about as many as it has, so that the file stays small and no write is
// dear for long.
func (s *Slots) Room() int {
	if s.seq == 0 {
		return 0
	}
	appended := s.end - headerSize - s.base
	return min(max(s.base, little)-appended, slotSize-s.end) - headerSize
}

// Append makes payload a part of the newest state, behind what is there: Read
// gives all of it together. It promises what Write does. There must be Room.
func (s *Slots) Append(payload []byte) error {
	if len(payload) > s.Room() {
		return fmt.Errorf("append to %s: there is room for %d bytes, not for %d: what came before stays", s.name, s.Room(), len(payload))
	}
	if err := s.put(encodeFrame(magicMore, s.seq+1, payload), 1-s.next, s.end); err != nil {
		return err
	}
	s.seq++
	s.end += headerSize + len(payload)
	return nil
}

// put writes one frame, and the end of the frames behind it: what is left there
// from another time must not be taken for its continuation. Where put fails the
// frame is torn, and counts for nothing.
func (s *Slots) put(frame []byte, index, offset int) error {
	end := min(headerSize, slotSize-offset-len(frame))
	frame = append(frame, make([]byte, end)...)
	at := index*slotSize + offset
	n, err := unix.Pwrite(s.fd, frame, int64(at))
	for errors.Is(err, unix.EINTR) {
		n, err = unix.Pwrite(s.fd, frame, int64(at))
	}
	if err == nil && n < len(frame) {
		err = io.ErrShortWrite // no room
	}
	if err != nil {
		return fmt.Errorf("write %s: %w: the state before it stays", s.name, err)
	}
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

// slot is one of which at least the first frame is whole.
type slot struct {
	index     int
	seq       uint64 // of the last whole frame
	base, end int
	payload   []byte // of all frames
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

func encodeFrame(magic string, seq uint64, payload []byte) []byte {
	b := make([]byte, headerSize+len(payload), headerSize+len(payload)+headerSize)
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

// decodeSlot reads one slot: ErrEmpty if nothing is there, ErrDamaged if its
// first frame is not whole, or what the reader said. Of the frames behind that
// one it takes as many as belong to it.
func decodeSlot(r io.Reader) (slot, error) {
	seq, payload, err := decodeFrame(r, magic, slotSize)
	if err != nil {
		return slot{}, err
	}
	if seq == 0 {
		return slot{}, ErrDamaged
	}
	s := slot{seq: seq, base: len(payload), end: headerSize + len(payload), payload: payload}
	for {
		seq, more, err := decodeFrame(r, magicMore, slotSize-s.end)
		switch {
		case errors.Is(err, ErrEmpty), errors.Is(err, ErrDamaged), err == nil && seq != s.seq+1:
			return s, nil
		case err != nil:
			return slot{}, err
		}
		s.seq, s.end, s.payload = seq, s.end+headerSize+len(more), append(s.payload, more...)
	}
}

// decodeFrame reads a frame of at most this many bytes.
func decodeFrame(r io.Reader, magic string, most int) (seq uint64, payload []byte, err error) {
	header := make([]byte, headerSize)
	switch _, err := io.ReadFull(r, header); {
	case errors.Is(err, io.EOF):
		return 0, nil, ErrEmpty
	case errors.Is(err, io.ErrUnexpectedEOF):
		return 0, nil, ErrDamaged
	case err != nil:
		return 0, nil, err
	}
	if [headerSize]byte(header) == ([headerSize]byte{}) {
		return 0, nil, ErrEmpty // a hole before the other slot
	}
	length := binary.LittleEndian.Uint64(header[16:])
	if string(header[:8]) != magic || most < headerSize || length > uint64(most-headerSize) {
		return 0, nil, ErrDamaged
	}
	whole := make([]byte, headerSize+length)
	copy(whole, header)
	switch _, err := io.ReadFull(r, whole[headerSize:]); {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return 0, nil, ErrDamaged
	case err != nil:
		return 0, nil, err
	}
	if binary.LittleEndian.Uint64(whole[24:]) != checksum(whole) {
		return 0, nil, ErrDamaged
	}
	return binary.LittleEndian.Uint64(whole[8:]), whole[headerSize:], nil
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
