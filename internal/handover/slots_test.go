package handover

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"fugue/internal/loadtest"
)

func TestSlotsGiveTheNewest(t *testing.T) {
	s, path := create(t)
	if _, err := read(t, path); !errors.Is(err, ErrEmpty) {
		t.Error(err)
	}
	for _, want := range []string{"first", "", "a longer one", "short", strings.Repeat("x", 300_000), "last"} {
		write(t, s, want)
		if got, err := read(t, path); got != want || err != nil {
			t.Fatalf("%q, %v", got, err)
		}
		again, err := Open(path) // the sequence goes on in the next image
		if err != nil {
			t.Fatal(err)
		}
		_ = s.Close()
		*s = *again
	}
	if s.seq != 6 {
		t.Errorf("sequence %d", s.seq)
	}
	var st unix.Stat_t
	if err := unix.Fstat(s.FD(), &st); err != nil || st.Mode != unix.S_IFREG|0o600 || st.Blocks*512 > 2<<20 {
		t.Errorf("mode %o, %d blocks, %v", st.Mode, st.Blocks, err)
	}
	if flags, err := unix.FcntlInt(uintptr(s.FD()), unix.F_GETFD, 0); err != nil || flags != unix.FD_CLOEXEC {
		t.Errorf("flags %d, %v", flags, err)
	}
}

func TestCreateStartsClean(t *testing.T) {
	s, path := create(t)
	write(t, s, "predecessor's")
	if err := os.WriteFile(path+".new", []byte("left by one that died"), 0o666); err != nil {
		t.Fatal(err)
	}
	old := unix.Umask(0o777)
	next, err := Create(path)
	unix.Umask(old)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	if _, err := read(t, path); !errors.Is(err, ErrEmpty) {
		t.Error(err)
	}
	if _, err := os.Lstat(path + ".new"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if b, err := s.Read(); string(b) != "predecessor's" || err != nil { // by its descriptor
		t.Errorf("%q, %v", b, err)
	}
	for _, bad := range []string{filepath.Join(path, "below a file"), t.TempDir()} {
		if _, err := Create(bad); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// What is torn in one slot leaves the other; in both it is damage, and not
// something old.
func TestTornSlots(t *testing.T) {
	s, path := create(t)
	write(t, s, "one")
	write(t, s, "two") // in the second slot
	length := headerSize + len("two")
	one, two := head(t, path, 0, length), head(t, path, slotSize, length)
	for at := range length {
		for _, bit := range []byte{1, 0x80} {
			check(t, flip(one, at, bit), two, "two", nil)
			check(t, one, flip(two, at, bit), "one", nil)
			check(t, flip(one, at, bit), flip(two, at, bit), "", ErrDamaged)
		}
		check(t, one, two[:at], "one", nil)
		check(t, one[:at], two, "two", nil) // a hole follows
	}
	check(t, one[:10], nil, "", ErrDamaged)
	check(t, nil, nil, "", ErrEmpty)
	check(t, make([]byte, 100), make([]byte, 100), "", ErrEmpty)

	lying := slices.Clone(one) // a length beyond the slot
	binary.LittleEndian.PutUint64(lying[16:], 1<<63)
	check(t, lying, two, "two", nil)
}

func TestTooLarge(t *testing.T) {
	s, path := create(t)
	write(t, s, "before")
	if err := s.Write(make([]byte, MaxPayload+1)); err == nil || !strings.Contains(err.Error(), "a slot holds 16777184") {
		t.Error(err)
	}
	if got, err := read(t, path); got != "before" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	largest := bytes.Repeat([]byte("x"), MaxPayload)
	for range 2 { // neither slot reaches into the other
		if err := s.Write(largest); err != nil {
			t.Fatal(err)
		}
		if got, err := read(t, path); got != string(largest) || err != nil {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	}
}

func TestNoRoom(t *testing.T) {
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
	write(t, s, "two")
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE); err != nil {
		t.Fatal(err)
	}
	if err := s.Write([]byte("three")); !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "the state before it stays") {
		t.Error(err)
	}
	if b, err := s.Read(); string(b) != "two" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	file := func(name string, mode fs.FileMode) string {
		if err := os.WriteFile(path(name), nil, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path(name), mode); err != nil {
			t.Fatal(err)
		}
		return path(name)
	}
	good := file("good", 0o600)
	if err := os.Symlink(good, path("link")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(path("fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		path("link"):        "too many levels of symbolic links",
		path("fifo"):        "not a regular file",
		dir:                 "is a directory",
		file("g", 0o640):    "mode 0640 lets others at it",
		file("o", 0o602):    "mode 0602",
		path("missing"):     "no such file",
		good + "/elsewhere": "not a directory",
	} {
		s, err := Open(name)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
		if err == nil {
			_ = s.Close()
		}
		if got := errors.Is(err, os.ErrNotExist); got != (name == path("missing")) {
			t.Errorf("%s: not exist: %v", name, got)
		}
	}
	if os.Geteuid() == 0 { // only root can give a file away
		if err := os.Chown(good, 1, -1); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(good); err == nil || !strings.Contains(err.Error(), "owned by user 1, not by 0") {
			t.Error(err)
		}
	}
	before := fds(os.Getpid())
	for range 10 {
		_, _ = Open(path("fifo"))
	}
	if n := fds(os.Getpid()); n != before {
		t.Errorf("descriptors: %d, then %d", before, n)
	}
}

func TestFromFDRefuses(t *testing.T) {
	var p [2]int
	if err := unix.Pipe2(p[:], 0); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(p[0])
	defer unix.Close(p[1])
	s, path := create(t)
	readOnly, err := unix.Open(path, unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(readOnly)
	for fd, want := range map[int]string{p[0]: "not a regular file", readOnly: "not open for reading and writing", 9999: "bad file descriptor"} {
		if _, err := FromFD(fd); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%d: %v", fd, err)
		}
	}
	if flags, err := unix.FcntlInt(uintptr(p[0]), unix.F_GETFD, 0); err != nil || flags != 0 {
		t.Errorf("it is no longer as it was: %d, %v", flags, err)
	}
	copied, err := unix.Dup(s.FD())
	if err != nil {
		t.Fatal(err)
	}
	again, err := FromFD(copied)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if flags, err := unix.FcntlInt(uintptr(copied), unix.F_GETFD, 0); err != nil || flags != unix.FD_CLOEXEC {
		t.Errorf("flags %d, %v", flags, err)
	}
}

// number writes n all over a payload of 300 KB.
func number(payload []byte, n int) {
	for at := 0; at < len(payload); at += 3000 {
		copy(payload[at:], fmt.Appendf(nil, "%014d ", n))
	}
}

// numbered gives the number that is all over a payload.
func numbered(payload []byte) (int, error) {
	want := bytes.Repeat([]byte("x"), 300_000)
	if len(payload) != len(want) {
		return 0, fmt.Errorf("%d bytes", len(payload))
	}
	n, err := strconv.ParseInt(string(payload[:14]), 10, 64)
	if number(want, int(n)); err == nil && !bytes.Equal(payload, want) {
		return 0, errors.New("two payloads in one")
	}
	return int(n), err
}

// writer writes as fast as it can and says each number that is written.
func writer() int {
	s, err := Open(os.Getenv("STATE"))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	payload, err := s.Read()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	last, err := numbered(payload)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	for n := last + 1; ; n++ {
		number(payload, n)
		if err := s.Write(payload); err != nil {
			fmt.Println(err)
			return 1
		}
		fmt.Println(n)
	}
}

// A writer that is killed at any instant leaves a whole state, and none that is
// older than the last that it knew to be written.
func TestKilledWriter(t *testing.T) {
	s, path := create(t)
	first := bytes.Repeat([]byte("x"), 300_000)
	number(first, 1)
	write(t, s, string(first))
	torn := 0
	for i := range loadtest.Scale(500) {
		p := startRole(t, "writer", "STATE="+path)
		for range i%5 + 1 {
			p.line(t)
		}
		if err := p.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		acknowledged := 0
		for line := range p.lines {
			n, err := strconv.Atoi(line)
			if err != nil {
				t.Fatal(line)
			}
			acknowledged = n
		}
		_ = p.Wait()
		got, err := read(t, path)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := numbered([]byte(got)); err != nil || n < acknowledged {
			t.Fatalf("after %d: %d, %v", acknowledged, n, err)
		}
		torn += damagedSlots(t, path)
	}
	t.Logf("%d kills tore a slot", torn)
}

func damagedSlots(t *testing.T, path string) (n int) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := range 2 {
		if _, err := f.Seek(int64(i)*slotSize, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := decodeSlot(f); errors.Is(err, ErrDamaged) {
			n++
		}
	}
	return n
}

// Whatever a file holds, a payload is given only with its checksum, the newer
// one first, and nothing panics or takes more memory than a slot has.
func FuzzRead(f *testing.F) {
	one, two := encodeFrame(magic, 1, []byte("one")), encodeFrame(magic, 2, []byte("two"))
	f.Add(one, two)
	f.Add(two, one[:20])
	f.Add([]byte{}, two)
	f.Add(make([]byte, headerSize), []byte{})
	f.Add(encodeFrame(magic, 1<<64-1, nil), []byte(magic))
	f.Add(one, append(slices.Clone(two), encodeFrame(magicMore, 3, []byte("more"))...))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		s := holding(t, first, second)
		defer s.Close()
		payload, err := s.Read()
		if err != nil && !errors.Is(err, ErrEmpty) && !errors.Is(err, ErrDamaged) {
			t.Fatal(err)
		}
		if err == nil && !holds(first, payload) && !holds(second, payload) {
			t.Errorf("%q is in neither", payload)
		}
		if err := s.Write([]byte("new")); err != nil {
			t.Fatal(err)
		}
		if b, err := s.Read(); s.seq != 0 && (string(b) != "new" || err != nil) {
			t.Errorf("%q, %v", b, err)
		}
	})
}

// holds reports that frames with this payload, and nothing else, begin a slot.
func holds(slot, payload []byte) bool {
	s, err := decodeSlot(bytes.NewReader(slot))
	if err != nil || !bytes.Equal(s.payload, payload) {
		return false
	}
	kind, seq, at := magic, binary.LittleEndian.Uint64(slot[8:]), 0
	for at < s.end {
		n := int(binary.LittleEndian.Uint64(slot[at+16:]))
		if !bytes.HasPrefix(slot[at:], encodeFrame(kind, seq, payload[:n])) {
			return false
		}
		kind, seq, at, payload = magicMore, seq+1, at+headerSize+n, payload[n:]
	}
	return len(payload) == 0
}
