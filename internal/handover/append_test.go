package handover

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What is appended is read with what it was appended to, by whoever opens the
// file, and goes with it when the whole is written again.
func TestAppended(t *testing.T) {
	s, path := create(t)
	if s.Room() > 0 || s.Append([]byte("x")) == nil {
		t.Error("something was appended to nothing")
	}
	is := func(want string) {
		t.Helper()
		if got, err := read(t, path); got != want || err != nil {
			t.Fatalf("%q, %v, want %q", got, err, want)
		}
		next, err := Open(path) // a successor goes on
		if err != nil {
			t.Fatal(err)
		}
		if next.Room() != s.Room() {
			t.Errorf("room for %d, then for %d", s.Room(), next.Room())
		}
		_ = s.Close()
		*s = *next
	}
	for _, round := range []string{"a", "b", "c"} { // over what the rounds before have left
		write(t, s, round)
		is(round)
		more(t, s, "+one")
		is(round + "+one")
		more(t, s, "+two")
		is(round + "+one+two")
	}
	write(t, s, "longer than the frames before it were")
	is("longer than the frames before it were")
	write(t, s, "")
	more(t, s, "")
	more(t, s, "x")
	is("x")
}

// A frame that is torn at any byte counts for nothing, and neither does
// anything behind it; the state before it is whole.
func TestTornAppend(t *testing.T) {
	s, path := create(t)
	write(t, s, "one")
	write(t, s, "two")
	more(t, s, "+more")
	more(t, s, "+last")
	first := headerSize + len("two")
	second := first + headerSize + len("+more")
	all := head(t, path, slotSize, s.end)
	one := head(t, path, 0, headerSize+len("one"))
	for at := first; at < len(all); at++ {
		want := "two"
		if at >= second {
			want = "two+more"
		}
		for _, bit := range []byte{1, 0x80} {
			check(t, one, flip(all, at, bit), want, nil)
		}
		check(t, one, all[:at], want, nil)
	}
	for at := range first { // without its beginning it is nothing
		check(t, one, flip(all, at, 1), "one", nil)
	}
	// The frame of another time is none of this state, though it is whole.
	for _, seq := range []uint64{0, 1, 3, 5, 1 << 63} {
		other := append(slices.Clone(all[:second]), encodeFrame(magicMore, seq, []byte("+other"))...)
		check(t, one, other, "two+more", nil)
	}
	whole := append(slices.Clone(all[:second]), encodeFrame(magic, 4, []byte("+whole"))...)
	check(t, one, whole, "two+more", nil)
}

// The room ends before the file has become much longer than it need be, and
// before the next slot.
func TestRoom(t *testing.T) {
	s, path := create(t)
	write(t, s, "small")
	bytes := 0
	for s.Room() >= 100 {
		more(t, s, strings.Repeat("x", 100))
		bytes += 100
	}
	if bytes < little/2 || s.end > headerSize+5+little {
		t.Errorf("%d bytes were appended, and the slot has %d", bytes, s.end)
	}
	if err := s.Append(make([]byte, 101)); err == nil || !strings.Contains(err.Error(), "room") {
		t.Error(err)
	}
	if got, err := read(t, path); len(got) != 5+bytes || err != nil {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	large := strings.Repeat("y", MaxPayload-headerSize-10)
	write(t, s, large)
	if s.Room() != 10 {
		t.Errorf("room for %d bytes at the end of a slot", s.Room())
	}
	more(t, s, strings.Repeat("z", 10))
	if got, err := read(t, path); len(got) != len(large)+10 || err != nil {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// A device that is full loses nothing of what was there, and is written again
// as soon as it is not.
func TestNoRoomToAppend(t *testing.T) {
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	s, err := FromFD(fd)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	write(t, s, "one")
	more(t, s, "+two")
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_GROW); err != nil {
		t.Fatal(err)
	}
	if err := s.Append([]byte("+three")); err == nil || !strings.Contains(err.Error(), "the state before it stays") {
		t.Error(err)
	}
	if b, err := s.Read(); string(b) != "one+two" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}
