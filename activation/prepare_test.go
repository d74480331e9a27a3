package activation

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestBindEveryKind(t *testing.T) {
	dir := tempDir(t)
	s := commit(t, nil, nil,
		Spec{Name: "a", Stream: "127.0.0.1:0"},
		Spec{Name: "b", Stream: "[::1]:0"},
		Spec{Name: "c", Stream: "0"},
		Spec{Name: "d", Stream: filepath.Join(dir, "s")},
		Spec{Name: "e", Stream: "@" + dir},
		Spec{Name: "f", Datagram: "127.0.0.1:0"},
		Spec{Name: "g", Datagram: filepath.Join(dir, "d")},
		Spec{Name: "h", Datagram: "@" + dir},
	)
	networks := strings.Fields("tcp tcp tcp unix unix udp unixgram unixgram")
	for i, l := range s.Listeners() {
		if l.Network != networks[i] || l.Origin != Own || l.StoreName != fmt.Sprintf("fugue.listen.%s.%d", l.Name, i+1) {
			t.Errorf("%+v", l)
		}
		if strings.HasSuffix(l.Address, ":0") || !Listening(l) {
			t.Errorf("%s %s does not listen", l.Name, l.Address)
		}
		flags, _ := unix.FcntlInt(uintptr(l.FD), unix.F_GETFD, 0)
		status, _ := unix.FcntlInt(uintptr(l.FD), unix.F_GETFL, 0)
		if flags&unix.FD_CLOEXEC == 0 || status&unix.O_NONBLOCK != 0 {
			t.Errorf("%s: flags %x, status %x", l.Name, flags, status)
		}
		if l.Network == "tcp" || l.Network == "unix" {
			reaches(t, l)
		}
	}
	if diff := cmp.Diff(strings.Fields("a b c d e f g h"), s.Names()); diff != "" {
		t.Error(diff)
	}
	// [::] takes IPv4 too, unless told otherwise.
	_, port, err := net.SplitHostPort(s.Listeners()[2].Address)
	ok(t, err)
	ok(t, connect(Listener{Network: "tcp", Address: "127.0.0.1:" + port}))
	ok(t, s.Close(true))
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestAllOrNothing(t *testing.T) {
	pid, taken := hold(t, Spec{Name: "x", Stream: "127.0.0.1:0"})
	path := sockPath(t)
	before := openFDs(t)
	first := only(t, commit(t, nil, nil, Spec{Name: "probe", Stream: "127.0.0.1:0"}))
	ok(t, closeListener(first, true)) // a port that is free now

	_, err := Prepare(nil, []Spec{
		{Name: "one", Stream: first.Address},
		{Name: "two", Stream: path},
		{Name: "three", Stream: taken},
	}, nil, nil)
	wantErr(t, err, `listen "three"`, taken, "address already in use by", fmt.Sprintf("(pid %d)", pid))
	if !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("%v is not EADDRINUSE", err)
	}
	if connect(first) == nil {
		t.Error("the first is still bound")
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the path is still there: %v", err)
	}
	if n := openFDs(t); n != before {
		t.Errorf("%d sockets open, %d before", n, before)
	}
}

// Not only the same address: one that contains it stands in the way as well.
func TestBusyNamesOverlappingHolder(t *testing.T) {
	pid, taken := hold(t, Spec{Name: "x", Stream: "0"})
	_, port, err := net.SplitHostPort(taken)
	ok(t, err)
	_, err = Prepare(nil, []Spec{{Name: "a", Stream: "127.0.0.1:" + port}}, nil, nil)
	wantErr(t, err, fmt.Sprintf("(pid %d)", pid))
	pid, taken = hold(t, Spec{Name: "x", Datagram: "127.0.0.1:0"})
	_, err = Prepare(nil, []Spec{{Name: "a", Datagram: taken}}, nil, nil)
	wantErr(t, err, "udp", fmt.Sprintf("(pid %d)", pid))
	_, taken = hold(t, Spec{Name: "x", Stream: "@" + tempDir(t)})
	_, err = Prepare(nil, []Spec{{Name: "a", Stream: taken}}, nil, nil)
	wantErr(t, err, taken, "address already in use by")
}

func TestReload(t *testing.T) {
	path := sockPath(t)
	before := openFDs(t)
	s := commit(t, nil, nil, Spec{Name: "a", Stream: "127.0.0.1:0"}, Spec{Name: "b", Stream: path}, Spec{Name: "c", Stream: "127.0.0.1:0"})
	old := s.Listeners()

	// a goes, b stays, c is called d, e is new, and the order is another.
	c := prepare(t, s, nil, Spec{Name: "e", Stream: "127.0.0.1:0"}, Spec{Name: "d", Stream: old[2].Address}, Spec{Name: "b", Stream: path})
	next := c.Set().Listeners()
	if next[1].FD != old[2].FD || next[1].Name != "d" || next[1].StoreName != "fugue.listen.c.3" {
		t.Errorf("renamed: %+v", next[1])
	}
	if next[2].FD != old[1].FD || next[2].PathInode != old[1].PathInode {
		t.Errorf("kept: %+v", next[2])
	}
	if next[0].StoreName != "fugue.listen.e.4" {
		t.Errorf("new: %+v", next[0])
	}
	if diff := cmp.Diff([]Listener{next[0]}, c.Added()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Listener{old[0]}, c.Removed()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"fugue.listen.a.1"}, c.Forget()); diff != "" {
		t.Error(diff)
	}
	reaches(t, old[0]) // until the commit both serve
	reaches(t, next[0])
	ok(t, c.Commit())
	if connect(old[0]) == nil {
		t.Error("the removed one still listens")
	}
	for _, l := range next {
		closeLater(t, l)
		reaches(t, l)
	}
	ok(t, c.Commit())
	ok(t, c.Abort()) // too late, and harmless
	reaches(t, next[0])

	// Numbers are not used again, even when the highest is free.
	c = prepare(t, c.Set(), nil)
	ok(t, c.Commit())
	if _, err := os.Lstat(path); err == nil {
		t.Error("the removed path is still there")
	}
	c = prepare(t, c.Set(), nil, Spec{Name: "f", Stream: "127.0.0.1:0"})
	if l := only(t, c.Set()); l.StoreName != "fugue.listen.f.5" {
		t.Errorf("%+v", l)
	}
	ok(t, c.Abort())
	if n := openFDs(t); n != before {
		t.Errorf("%d sockets open, %d before", n, before)
	}
}

func TestAbort(t *testing.T) {
	path, other := sockPath(t), sockPath(t)
	s := commit(t, nil, nil, Spec{Name: "a", Stream: path})
	before := openFDs(t)
	c := prepare(t, s, nil, Spec{Name: "b", Stream: other}, Spec{Name: "c", Stream: "127.0.0.1:0"})
	ok(t, c.Abort())
	ok(t, c.Commit())
	reaches(t, only(t, s))
	if _, err := os.Lstat(other); err == nil {
		t.Error("an aborted path is still there")
	}
	if n := openFDs(t); n != before {
		t.Errorf("%d sockets open, %d before", n, before)
	}
}

func TestPortZeroKeepsItsSocket(t *testing.T) {
	zero := Spec{Name: "a", Stream: "127.0.0.1:0"}
	two := []Spec{zero, zero, {Name: "b", Stream: "127.0.0.1:0"}}
	s := commit(t, nil, nil, two...)
	next := commit(t, s, nil, two...)
	if diff := cmp.Diff(s.Listeners(), next.Listeners()); diff != "" {
		t.Error(diff)
	}
	// Another name is another socket: any port will do only for the same one.
	c := prepare(t, s, nil, Spec{Name: "c", Stream: "127.0.0.1:0"})
	if len(c.Added()) != 1 || len(c.Removed()) != 3 {
		t.Errorf("added %+v, removed %+v", c.Added(), c.Removed())
	}
}

// The old address is in the way of the new one until the commit.
func TestAddressChangesToOverlappingOne(t *testing.T) {
	for _, network := range []string{"tcp", "udp"} {
		t.Run(network, func(t *testing.T) {
			spec := func(host, port string) Spec {
				if network == "udp" {
					return Spec{Name: "a", Datagram: net.JoinHostPort(host, port)}
				}
				return Spec{Name: "a", Stream: net.JoinHostPort(host, port)}
			}
			s := commit(t, nil, nil, spec("127.0.0.1", "0"))
			_, port, err := net.SplitHostPort(only(t, s).Address)
			ok(t, err)
			for _, host := range []string{"0.0.0.0", "::", "127.0.0.1"} {
				c := prepare(t, s, nil, spec(host, port))
				for _, l := range append(c.Set().Listeners(), s.Listeners()...) {
					if getsockopt(t, l.FD, unix.SOL_SOCKET, unix.SO_REUSEPORT) != 0 {
						t.Error("SO_REUSEPORT was left on")
					}
				}
				closeLater(t, only(t, c.Set()))
				ok(t, c.Commit())
				s = c.Set()
				if network == "tcp" {
					reaches(t, only(t, s))
				}
				// No second process gets in unseen.
				_, err := Prepare(nil, []Spec{spec(host, port)}, nil, nil)
				wantErr(t, err, "in use by this process")
			}
		})
	}
}

func TestSameAddressTwice(t *testing.T) {
	free := only(t, commit(t, nil, nil, Spec{Name: "a", Stream: "127.0.0.1:0"})).Address
	_, err := Prepare(nil, []Spec{{Name: "a", Stream: "@x"}, {Name: "b", Stream: free}, {Name: "c", Stream: free}}, nil, nil)
	wantErr(t, err, `listen "c": "b" wants the same address`)
	_, err = Prepare(nil, []Spec{{Name: "a"}, {Name: "a"}}, nil, nil)
	wantErr(t, err, `wants the same address`)

	// Two members of one SO_REUSEPORT group are meant to share.
	shard := Spec{Name: "a", Stream: "127.0.0.1:0", ReusePort: new(true)}
	s := commit(t, nil, nil, shard)
	shard.Stream = only(t, s).Address
	both := commit(t, s, nil, shard, shard)
	if l := both.Listeners(); l[0].FD == l[1].FD || l[0].Address != l[1].Address {
		t.Errorf("%+v", l)
	}
}

// Of several sockets at one address each name keeps its own.
func TestNamesDecideAmongShards(t *testing.T) {
	a := Spec{Name: "a", Stream: "127.0.0.1:0", ReusePort: new(true)}
	s := commit(t, nil, nil, a)
	a.Stream = only(t, s).Address
	b := a
	b.Name = "b"
	s = commit(t, s, nil, a, b)
	swapped := commit(t, s, nil, b, a)
	if diff := cmp.Diff(reversedFDs(s), swapped.FDs()); diff != "" {
		t.Error(diff)
	}
}

func reversedFDs(s *Set) []int {
	fds := s.FDs()
	slices.Reverse(fds)
	return fds
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		spec Spec
		err  string
	}{
		{Spec{Name: "", Stream: "80"}, "needs a name"},
		{Spec{Name: "a:b", Stream: "80"}, "without ':'"},
		{Spec{Name: "a\n", Stream: "80"}, "printable"},
		{Spec{Name: "ä", Stream: "80"}, "printable"},
		{Spec{Name: strings.Repeat("a", 256), Stream: "80"}, "256 characters"},
		{Spec{Name: "fugue.listen.x.1", Stream: "80"}, "for itself"},
		{Spec{Name: "a", Stream: "localhost:80"}, "host name"},
		{Spec{Name: "a", Stream: "80", Datagram: "80"}, "two listeners"},
		{Spec{Name: "a", Stream: "80", Backlog: -1}, "backlog"},
		{Spec{Name: "a", Stream: "80", DeferAccept: -1}, "defer_accept"},
		{Spec{Name: "a", Stream: "80", ReceiveBuffer: 1 << 30}, "receive_buffer"},
		{Spec{Name: "a", Stream: "80", BindIPv6Only: "yes"}, "bind_ipv6_only"},
		{Spec{Name: "a", Stream: "127.0.0.1:80", BindIPv6Only: "both"}, "all addresses ([::])"},
		{Spec{Name: "a", Stream: "[::1]:80", BindIPv6Only: "both"}, "all addresses ([::])"},
		{Spec{Name: "a", Stream: "/a", Mode: 0o1777}, "mode"},
		{Spec{Name: "a", Stream: "80", Mode: 0o600}, "mode is for unix"},
		{Spec{Name: "a", Stream: "@a", User: "root"}, "user is for unix"},
		{Spec{Name: "a", Stream: "@a", Group: "root"}, "group is for unix"},
		{Spec{Name: "a", Stream: "@a", RemoveOnStop: new(true)}, "remove_on_stop is for unix"},
		{Spec{Name: "a", Stream: "/a", NoDelay: new(true)}, "no_delay is for TCP"},
		{Spec{Name: "a", Datagram: "80", KeepAlive: new(true)}, "keep_alive is for TCP"},
		{Spec{Name: "a", Datagram: "80", DeferAccept: 1}, "defer_accept is for TCP"},
		{Spec{Name: "a", Datagram: "80", Backlog: 1}, "backlog is for stream"},
		{Spec{Name: "a", Stream: "/a", ReusePort: new(true)}, "reuse_port is for TCP and UDP"},
		{Spec{Name: "a", Stream: "/a", FreeBind: new(true)}, "free_bind is for TCP and UDP"},
	} {
		wantErr(t, c.spec.Validate(), c.err)
	}
	err := Spec{Name: "a:b", Stream: "localhost:80", Backlog: -1}.Validate()
	wantErr(t, err, "':'", "host name", "backlog") // all at once
	for _, s := range []Spec{{Name: strings.Repeat("n", 255), Stream: "80"}, {Name: "a"}, {Name: "a b", Datagram: "/x", Mode: 0o600}} {
		ok(t, s.Validate())
	}
}

func TestRestore(t *testing.T) {
	s := commit(t, nil, nil, Spec{Name: "a", Stream: "127.0.0.1:0"}, Spec{Name: "b", Stream: sockPath(t)})
	back, err := Restore(s.Listeners())
	ok(t, err)
	if diff := cmp.Diff(s, back, cmp.AllowUnexported(Set{})); diff != "" {
		t.Error(diff)
	}
	wrong := s.Listeners()
	wrong[0].FD, wrong[1].FD = wrong[1].FD, wrong[0].FD
	_, err = Restore(wrong)
	wantErr(t, err, `listener "a"`, "another file")
	wrong[0].FD = 1 << 19
	_, err = Restore(wrong)
	wantErr(t, err, `listener "a"`)
}

func TestAssertFlags(t *testing.T) {
	s := commit(t, nil, nil,
		Spec{Name: "on", Stream: "127.0.0.1:0", NonBlocking: new(true)},
		Spec{Name: "off", Stream: "127.0.0.1:0", NonBlocking: new(false)},
		Spec{Name: "any", Stream: "127.0.0.1:0"})
	is := func() (flags []bool) {
		for _, fd := range s.FDs() {
			v, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
			ok(t, err)
			flags = append(flags, v&unix.O_NONBLOCK != 0)
		}
		return flags
	}
	restored, err := s.AssertFlags(nil)
	ok(t, err)
	if diff := cmp.Diff([]bool{true, false, false}, is()); diff != "" || restored != nil {
		t.Error(diff, restored)
	}
	for i, fd := range s.FDs() { // what workers do to each other
		ok(t, unix.SetNonblock(fd, i > 0))
	}
	restored, err = s.AssertFlags(nil)
	ok(t, err)
	if diff := cmp.Diff([]string{"on", "off"}, restored); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]bool{true, false, true}, is()); diff != "" {
		t.Error(diff)
	}
	restored, err = s.AssertFlags(new(false)) // for those that name none
	ok(t, err)
	if diff := cmp.Diff([]string{"any"}, restored); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]bool{true, false, false}, is()); diff != "" {
		t.Error(diff)
	}
}
