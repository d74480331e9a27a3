package handover

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func create(t *testing.T) (*Slots, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "state")
	s, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if s.FD() >= 0 {
			_ = s.Close()
		}
	})
	return s, path
}

func write(t *testing.T, s *Slots, payload string) {
	t.Helper()
	if err := s.Write([]byte(payload)); err != nil {
		t.Fatal(err)
	}
}

// read opens the file anew, as a successor does.
func read(t *testing.T, path string) (string, error) {
	t.Helper()
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	b, err := s.Read()
	return string(b), err
}

func more(t *testing.T, s *Slots, payload string) {
	t.Helper()
	if err := s.Append([]byte(payload)); err != nil {
		t.Fatal(err)
	}
}

func head(t *testing.T, path string, at int64, n int) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, n)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	return b
}

func flip(b []byte, at int, bit byte) []byte {
	b = slices.Clone(b)
	b[at] ^= bit
	return b
}

// holding is a file with these slots.
func holding(t *testing.T, first, second []byte) *Slots {
	t.Helper()
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	for i, b := range [][]byte{first, second} {
		if _, err := unix.Pwrite(fd, b, int64(i)*slotSize); err != nil {
			t.Fatal(err)
		}
	}
	s, err := FromFD(fd)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// check looks at a file with these slots, and writes to it: that must work
// whatever is there, and keep a whole slot.
func check(t *testing.T, first, second []byte, want string, wantErr error) {
	t.Helper()
	s := holding(t, first, second)
	defer s.Close()
	b, err := s.Read()
	if string(b) != want || !errors.Is(err, wantErr) {
		t.Fatalf("%q, %v, want %q, %v", b, err, want, wantErr)
	}
	intact := 1 - s.next
	if err := s.Write([]byte("new")); err != nil || wantErr == nil && s.next != intact {
		t.Fatalf("%v, or the whole slot was overwritten", err)
	}
	if b, err := s.Read(); string(b) != "new" || err != nil {
		t.Fatalf("%q, %v", b, err)
	}
}
