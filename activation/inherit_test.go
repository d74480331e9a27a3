package activation

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// summary is what matters of a set, a line each.
func summary(s *Set) (lines []string) {
	for _, l := range s.Listeners() {
		lines = append(lines, fmt.Sprintf("%s %s fd%d", l.Name, l.Origin, l.FD))
	}
	return lines
}

func TestAdoptInAnyOrder(t *testing.T) {
	web1 := bound(t, "web", Spec{Stream: "127.0.0.1:0"})
	web2 := bound(t, "web", Spec{Stream: "127.0.0.1:0"})
	extra := bound(t, "adm.socket", Spec{Datagram: "127.0.0.1:0"})
	stored := bound(t, "fugue.listen.api.7", Spec{Stream: "127.0.0.1:0"})
	changed := bound(t, "fugue.listen.old.9", Spec{Stream: "127.0.0.1:0"})
	state := bound(t, "fugue.state", Spec{Datagram: "@" + sockPath(t)})
	again := Inherited{Name: "fugue.listen.web.3"}
	var err error
	again.FD, err = unix.FcntlInt(uintptr(web1.FD), unix.F_DUPFD_CLOEXEC, 3)
	ok(t, err)

	all := []Inherited{web1, web2, extra, stored, changed, state, again}
	specs := []Spec{
		{Name: "api", Stream: addressOf(t, stored.FD)},
		{Name: "web", Stream: addressOf(t, web2.FD)},
		{Name: "old", Stream: "127.0.0.1:0"},
	}
	// The address of "old" is another now; port 0 would match any, so pin it.
	specs[2].Stream = "127.0.0.2:0"
	for range all {
		all = append(all[1:], all[0])
		for _, in := range [][]Inherited{all, reversed(all)} {
			c := prepare(t, nil, in, specs...)
			var added int
			for _, l := range c.Added() {
				if l.Name != "old" || l.StoreName != "fugue.listen.old.10" {
					t.Errorf("added %+v", l)
				}
				added = l.FD
			}
			want := []string{
				fmt.Sprintf("api store fd%d", stored.FD),
				fmt.Sprintf("web systemd fd%d", web2.FD),
				fmt.Sprintf("old own fd%d", added),
				fmt.Sprintf("adm.socket systemd fd%d", extra.FD),
				fmt.Sprintf("web systemd fd%d", web1.FD),
			}
			if diff := cmp.Diff(want, summary(c.Set())); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff([]string{"fugue.listen.old.9", "fugue.listen.web.3"}, c.Forget()); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff([]Inherited{state}, c.Others()); diff != "" {
				t.Error(diff)
			}
			ok(t, c.Abort()) // which leaves all inherited ones open
		}
	}
	s := commit(t, nil, all, specs...)
	for _, gone := range []int{changed.FD, again.FD} {
		if _, err := describe(gone); !errors.Is(err, unix.EBADF) {
			t.Errorf("fd %d is still open: %v", gone, err)
		}
	}
	reaches(t, s.Listeners()[4])

	// systemd's stay when the file no longer speaks of them, under their own
	// names; the caller may pass the same list again.
	next := commit(t, s, slices.DeleteFunc(all, func(in Inherited) bool { return in == changed || in == again }))
	if diff := cmp.Diff(3, len(next.Listeners())); diff != "" {
		t.Error(summary(next))
	}
	for _, l := range next.Listeners() {
		if l.Origin != Systemd || l.Name != l.FDName || l.Spec != (Spec{}) {
			t.Errorf("%+v", l)
		}
	}
}

func reversed(in []Inherited) []Inherited {
	in = slices.Clone(in)
	slices.Reverse(in)
	return in
}

// One socket under two names is one listener, and systemd's if it passed it:
// the surplus entry must not take the path along.
func TestDuplicatesOfASystemdPath(t *testing.T) {
	path := sockPath(t)
	in := bound(t, "web", Spec{Stream: path})
	var all []Inherited
	for _, name := range []string{"fugue.listen.web.3", "again"} {
		fd, err := unix.FcntlInt(uintptr(in.FD), unix.F_DUPFD_CLOEXEC, 3)
		ok(t, err)
		all = append(all, Inherited{name, fd})
	}
	s := commit(t, nil, append(all[:1:1], in, all[1]), Spec{Name: "web", Stream: path})
	if l := only(t, s); l.FD != in.FD || l.Origin != Systemd {
		t.Errorf("%+v", l)
	}
	reaches(t, only(t, s))
}

// The unit's default name need not be the one in the file: the address counts.
func TestSystemdSocketUnderAnotherName(t *testing.T) {
	in := bound(t, "web.socket", Spec{Stream: "127.0.0.1:0"})
	s := commit(t, nil, []Inherited{in}, Spec{Name: "http", Stream: addressOf(t, in.FD), Backlog: 7})
	l := only(t, s)
	if l.Name != "http" || l.FDName != "web.socket" || l.Origin != Systemd {
		t.Errorf("%+v", l)
	}
	if _, limit, err := Queue(l); err != nil || limit != 7 {
		t.Errorf("backlog %d, %v", limit, err)
	}
}

func TestSpecWithoutAddress(t *testing.T) {
	a := bound(t, "web", Spec{Stream: "127.0.0.1:0"})
	b := bound(t, "web", Spec{Stream: "@" + sockPath(t)})
	_, err := Prepare(nil, []Spec{{Name: "http"}}, []Inherited{a, b}, nil)
	wantErr(t, err, `listen "http"`, "no address is configured", `it passed "web")`)
	_, err = Prepare(nil, []Spec{{Name: "http"}}, nil, nil)
	wantErr(t, err, "it passed none")
	_, err = Prepare(nil, []Spec{{Name: "web", NoDelay: new(true)}}, []Inherited{a, b}, nil)
	wantErr(t, err, "no_delay is for TCP")
	s := commit(t, nil, []Inherited{a, b}, Spec{Name: "web", Backlog: 5})
	for _, l := range s.Listeners() {
		if _, limit, err := Queue(l); err != nil || limit != 5 || l.Spec.Backlog != 5 {
			t.Errorf("%+v: backlog %d, %v", l, limit, err)
		}
	}
	s = commit(t, s, nil, Spec{Name: "web", Backlog: 6}) // and so on reload
	if _, limit, err := Queue(s.Listeners()[1]); err != nil || limit != 6 {
		t.Errorf("backlog %d, %v", limit, err)
	}
}

// Names in the store are claims too; what they stand for decides.
func TestStoreEntriesThatMakeNoSense(t *testing.T) {
	good := bound(t, "fugue.listen.a.1", Spec{Stream: "127.0.0.1:0"})
	nameless := bound(t, "fugue.listen.a", Spec{Stream: "127.0.0.1:0"})
	udp := bound(t, "fugue.listen.a.2", Spec{Datagram: addressOf(t, good.FD)}) // same address, other kind
	p := make([]int, 2)
	ok(t, unix.Pipe2(p, unix.O_CLOEXEC))
	defer unix.Close(p[1])
	pipe := Inherited{Name: "fugue.listen.a.3", FD: p[0]}
	c := prepare(t, nil, []Inherited{pipe, udp, nameless, good}, Spec{Name: "a", Stream: addressOf(t, good.FD)})
	if l := only(t, c.Set()); l.FD != good.FD {
		t.Errorf("%+v", l)
	}
	want := []string{"fugue.listen.a", "fugue.listen.a.2", "fugue.listen.a.3"}
	if diff := cmp.Diff(want, c.Forget()); diff != "" {
		t.Error(diff)
	}
	ok(t, c.Commit())
	closeLater(t, only(t, c.Set()))
	for _, in := range []Inherited{pipe, udp, nameless} {
		if _, err := describe(in.FD); !errors.Is(err, unix.EBADF) {
			t.Errorf("%s is still open", in.Name)
		}
	}

	_, err := Prepare(nil, nil, []Inherited{{Name: "x", FD: 1 << 19}}, nil)
	wantErr(t, err, `inherited socket "x"`)
}

// FDSTOREREMOVE takes all of a name: the one to keep gets another.
func TestStoreNameUsedTwice(t *testing.T) {
	a := bound(t, "fugue.listen.a.4", Spec{Stream: "127.0.0.1:0"})
	b := bound(t, "fugue.listen.a.4", Spec{Stream: "127.0.0.1:0"})
	c := prepare(t, nil, []Inherited{a, b}, Spec{Name: "a", Stream: addressOf(t, b.FD)})
	l := only(t, c.Set())
	if l.FD != b.FD || l.StoreName != "fugue.listen.a.5" || len(c.Added()) != 1 {
		t.Errorf("%+v, added %+v", l, c.Added())
	}
	if diff := cmp.Diff([]string{"fugue.listen.a.4"}, c.Forget()); diff != "" {
		t.Error(diff)
	}
}

func TestLongNamesFitTheStore(t *testing.T) {
	long := strings.Repeat("n", 255)
	l := only(t, commit(t, nil, nil, Spec{Name: long, Stream: "127.0.0.1:0"}))
	ok(t, checkFDName(l.StoreName))
	fd, err := unix.FcntlInt(uintptr(l.FD), unix.F_DUPFD_CLOEXEC, 3)
	ok(t, err)
	s := commit(t, nil, []Inherited{{Name: l.StoreName, FD: fd}}, Spec{Name: long, Stream: "127.0.0.1:0"})
	if only(t, s).Inode != l.Inode {
		t.Error("not found again")
	}
}

func TestAnythingElseFromSystemdIsPassedOn(t *testing.T) {
	f, err := os.Open(os.DevNull)
	ok(t, err)
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	ok(t, err)
	seq, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	ok(t, err)
	s := commit(t, nil, []Inherited{{"null", fd}, {"", seq}}, Spec{Name: "a", Stream: "127.0.0.1:0"})
	l := s.Listeners()
	if l[1].Network != "unixpacket" || l[2].Network != "other" || l[2].Address != os.DevNull || l[2].Name != "null" {
		t.Errorf("%+v", l[1:])
	}
	if _, _, err := Queue(l[2]); err == nil {
		t.Error("a file has a queue")
	}
}
