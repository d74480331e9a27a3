package activation

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

var probes = []struct {
	name       string
	level, opt int
}{
	{"keepalive", unix.SOL_SOCKET, unix.SO_KEEPALIVE},
	{"nodelay", unix.SOL_TCP, unix.TCP_NODELAY},
	{"defer", unix.SOL_TCP, unix.TCP_DEFER_ACCEPT},
	{"rcvbuf", unix.SOL_SOCKET, unix.SO_RCVBUF},
	{"sndbuf", unix.SOL_SOCKET, unix.SO_SNDBUF},
	{"locks", unix.SOL_SOCKET, unix.SO_BUF_LOCK},
	{"reuseport", unix.SOL_SOCKET, unix.SO_REUSEPORT},
	{"v6only", unix.SOL_IPV6, unix.IPV6_V6ONLY},
	{"freebind", unix.SOL_IPV6, unix.IPV6_FREEBIND},
}

// read gives all options of a TCP listener on IPv6 as the kernel has them.
func read(t *testing.T, l Listener) map[string]int {
	t.Helper()
	got := map[string]int{}
	for _, p := range probes {
		got[p.name] = getsockopt(t, l.FD, p.level, p.opt)
	}
	flags, err := unix.FcntlInt(uintptr(l.FD), unix.F_GETFL, 0)
	ok(t, err)
	got["nonblock"] = number(flags&unix.O_NONBLOCK != 0)
	_, limit, err := Queue(l)
	ok(t, err)
	got["backlog"] = limit
	return got
}

func with(base map[string]int, pairs ...any) map[string]int {
	next := map[string]int{}
	for k, v := range base {
		next[k] = v
	}
	for i := 0; i < len(pairs); i += 2 {
		next[pairs[i].(string)] = pairs[i+1].(int)
	}
	return next
}

func same(t *testing.T, what string, want, got map[string]int) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: %s", what, diff)
	}
}

func full(stream string) (Spec, []any) {
	return Spec{Name: "a", Stream: stream, Backlog: 11, KeepAlive: new(true), NoDelay: new(true), DeferAccept: 2500 * time.Millisecond,
			ReceiveBuffer: 65536, SendBuffer: 32768, NonBlocking: new(true)},
		[]any{"backlog", 11, "keepalive", 1, "nodelay", 1, "defer", 3, "rcvbuf", 131072, "sndbuf", 65536, "locks", 3, "nonblock", 1}
}

func TestOptionsOfANewSocket(t *testing.T) {
	plain := read(t, only(t, commit(t, nil, nil, Spec{Name: "a", Stream: "[::]:0"})))
	spec, values := full("[::]:0")
	spec.ReusePort, spec.FreeBind, spec.BindIPv6Only = new(true), new(true), "ipv6-only"
	values = append(values, "reuseport", 1, "freebind", 1, "v6only", 1)
	same(t, "all set", with(plain, values...), read(t, only(t, commit(t, nil, nil, spec))))

	// free_bind does what it says, in both families.
	for _, address := range []string{"192.0.2.1:0", "[2001:db8::1]:0"} {
		_, err := Prepare(nil, []Spec{{Name: "a", Stream: address}}, nil, nil)
		wantErr(t, err, address, "free_bind")
		commit(t, nil, nil, Spec{Name: "a", Stream: address, FreeBind: new(true)})
	}
}

func TestOptionsChangeOnAKeptSocket(t *testing.T) {
	plain := Spec{Name: "a", Stream: "[::]:0"}
	rich, values := full("[::]:0")
	s := commit(t, nil, nil, plain)
	was := read(t, only(t, s))
	set := with(was, values...)

	c := prepare(t, s, nil, rich)
	if len(c.Added())+len(c.Removed()) > 0 || only(t, c.Set()).FD != only(t, s).FD {
		t.Fatal("not kept")
	}
	same(t, "prepared", set, read(t, only(t, s)))
	ok(t, c.Abort())
	same(t, "aborted", was, read(t, only(t, s)))

	s = commit(t, s, nil, rich)
	same(t, "set", set, read(t, only(t, s)))
	c = prepare(t, s, nil, plain)
	// Autotuning is back too. nonblocking unset means "leave".
	same(t, "unset", with(was, "nonblock", 1), read(t, only(t, s)))
	ok(t, c.Abort())
	same(t, "unset aborted", set, read(t, only(t, s)))
	reaches(t, only(t, s))
}

// What a worker set on the shared socket is neither undone nor a reason to
// refuse a reload.
func TestUnchangedOptionsAreLeftAlone(t *testing.T) {
	spec, _ := full("[::]:0")
	s := commit(t, nil, nil, spec)
	l := only(t, s)
	ok(t, unix.SetsockoptInt(l.FD, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
	ok(t, unix.SetsockoptInt(l.FD, unix.SOL_TCP, unix.TCP_NODELAY, 0))
	ok(t, unix.Listen(l.FD, 99))
	was := read(t, l)
	next := commit(t, s, nil, spec)
	same(t, "reload", was, read(t, only(t, next)))
}

func TestFixedOptionsRefuseTheReload(t *testing.T) {
	base := Spec{Name: "a", Stream: "[::]:0"}
	s := commit(t, nil, nil, base)
	was := read(t, only(t, s))
	for name, change := range map[string]func(*Spec){
		"reuse_port":     func(s *Spec) { s.ReusePort = new(true) },
		"free_bind":      func(s *Spec) { s.FreeBind = new(true) },
		"bind_ipv6_only": func(s *Spec) { s.BindIPv6Only = "ipv6-only" },
	} {
		spec := base
		spec.Backlog, spec.NoDelay = 5, new(true)
		change(&spec)
		before := openFDs(t)
		_, err := Prepare(s, []Spec{{Name: "new", Stream: "@" + tempDir(t)}, spec}, nil, nil)
		wantErr(t, err, `listen "a"`, name, "cannot be changed on a bound socket")
		same(t, name, was, read(t, only(t, s)))
		if n := openFDs(t); n != before {
			t.Errorf("%d sockets open, %d before", n, before)
		}
	}
	// To say what is already so is no change.
	base.ReusePort, base.FreeBind, base.BindIPv6Only = new(false), new(false), "both"
	commit(t, s, nil, base)

	// Whose it is decides what the user can do.
	in := bound(t, "web", Spec{Stream: "[::]:0"})
	_, err := Prepare(nil, []Spec{{Name: "web", Stream: addressOf(t, in.FD), ReusePort: new(true)}}, []Inherited{in}, nil)
	wantErr(t, err, "ReusePort=", ".socket unit")
}

// Only what is configured; and what is configured no more stays as it is.
func TestOptionsOfSystemdSockets(t *testing.T) {
	theirs := Spec{Stream: "[::]:0", KeepAlive: new(true), Backlog: 21, SendBuffer: 65536}
	in := bound(t, "web", theirs)
	stream := addressOf(t, in.FD)
	l := only(t, prepare(t, nil, []Inherited{in}).Set())
	was := read(t, l)
	s := commit(t, nil, []Inherited{in}, Spec{Name: "web", Stream: stream})
	same(t, "adopted", was, read(t, l))
	s = commit(t, s, nil, Spec{Name: "web", Stream: stream, NoDelay: new(true), Backlog: 9})
	changed := with(was, "nodelay", 1, "backlog", 9)
	same(t, "configured", changed, read(t, l))
	commit(t, s, nil, Spec{Name: "web", Stream: stream})
	same(t, "no longer configured", changed, read(t, l))
}

// A later step fails: earlier ones are reverted.
func TestFailedReloadRevertsOptions(t *testing.T) {
	spec, _ := full("[::]:0")
	plain := Spec{Name: "a", Stream: "[::]:0"}
	s := commit(t, nil, nil, plain, Spec{Name: "b", Stream: sockPath(t)})
	l := s.Listeners()
	was := read(t, l[0])
	// The rights of a path that is gone from under the socket cannot be set;
	// usable() must not notice first, so the socket pretends to be systemd's.
	l[1].Origin, l[1].FDName = Systemd, "b"
	ok(t, unix.Unlink(l[1].Address))
	_, err := Prepare(&Set{listeners: l}, []Spec{spec, {Name: "b", Stream: l[1].Address, Mode: 0o600}}, nil, nil)
	wantErr(t, err, "access rights", l[1].Address)
	same(t, "reverted", was, read(t, l[0]))
}

// Beyond the sysctl the buffer needs a privilege: an error, not a smaller one.
func TestBufferBeyondTheLimit(t *testing.T) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	ok(t, err)
	defer unix.Close(fd)
	const size = 512 << 20
	ok(t, setBuffer(fd, unix.SO_RCVBUF, size)) // we are root here
	if got := getsockopt(t, fd, unix.SOL_SOCKET, unix.SO_RCVBUF); got != size {
		t.Errorf("%d, want %d", got, size)
	}
	err = asNobody(t, func() error { return setBuffer(fd, unix.SO_SNDBUF, size) })
	wantErr(t, err, fmt.Sprint(size/2), "net.core.wmem_max", "CAP_NET_ADMIN")
	err = asNobody(t, func() error {
		_, err := Prepare(nil, []Spec{{Name: "a", Stream: "127.0.0.1:1"}}, nil, nil)
		return err
	})
	wantErr(t, err, "CAP_NET_BIND_SERVICE")
}
