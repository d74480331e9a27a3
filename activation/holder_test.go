package activation

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"fugue/internal/sockdiag"
)

// steal is what a master does for Prepare: a socket out of a predecessor.
func steal(t *testing.T, only int) Fetch {
	return func(_, network, address string) (int, error) {
		for _, h := range HolderOf(network, address) {
			if h.PID != only {
				continue
			}
			p, err := unix.PidfdOpen(h.PID, 0)
			ok(t, err)
			defer unix.Close(p)
			return unix.PidfdGetfd(p, h.FD, 0)
		}
		return -1, nil
	}
}

func TestFetchFromAPredecessor(t *testing.T) {
	path := sockPath(t)
	for _, theirs := range []Spec{
		{Name: "x", Stream: "127.0.0.1:0"}, {Name: "x", Stream: "[::1]:0"}, {Name: "x", Stream: path}, {Name: "x", Stream: "@" + path},
		{Name: "x", Datagram: "127.0.0.1:0"}, {Name: "x", Datagram: "[::1]:0"}, {Name: "x", Datagram: path + "d"},
	} {
		pid, address := hold(t, theirs)
		spec := Spec{Name: "a", Stream: address, NonBlocking: new(true)}
		if theirs.Datagram != "" {
			spec.Stream, spec.Datagram = "", address
		}
		before := openFDs(t)
		c, err := Prepare(nil, []Spec{spec}, nil, steal(t, pid))
		ok(t, err)
		l := only(t, c.Set())
		if l.Address != address || l.Origin != Own || l.StoreName != "fugue.listen.a.1" || len(c.Added()) != 1 {
			t.Errorf("%+v", l)
		}
		holders := HolderOf(l.Network, l.Address)
		if len(holders) != 2 || holders[0].Inode != l.Inode || holders[1].Inode != l.Inode {
			t.Errorf("holders of %s: %+v", l.Address, holders)
		}
		if (l.PathInode != 0) != l.isPath() {
			t.Errorf("path %d of %s", l.PathInode, l.Address)
		}
		// Theirs lives on when we think better of it.
		ok(t, c.Abort())
		if l.isPath() {
			if _, err := os.Lstat(l.Address); err != nil {
				t.Error(err)
			}
		}
		if l.Network == "tcp" || l.Network == "unix" {
			ok(t, connect(l))
		}
		if n := openFDs(t); n != before {
			t.Errorf("%d sockets open, %d before", n, before)
		}
	}
}

func TestFetchThatDoesNotHelp(t *testing.T) {
	_, taken := hold(t, Spec{Name: "x", Stream: "127.0.0.1:0"})
	wrong := only(t, commit(t, nil, nil, Spec{Name: "w", Stream: "127.0.0.1:0"}))
	spec := []Spec{{Name: "a", Stream: taken}}
	before := openFDs(t)
	for message, fetch := range map[string]Fetch{
		"in use by exe": func(_, _, _ string) (int, error) { return -1, nil },
		"no permission": func(_, _, _ string) (int, error) { return -1, errors.New("no permission") },
		"not a socket of this address": func(_, _, _ string) (int, error) {
			return unix.FcntlInt(uintptr(wrong.FD), unix.F_DUPFD_CLOEXEC, 3)
		},
	} {
		_, err := Prepare(nil, spec, nil, fetch)
		wantErr(t, err, message, taken)
	}
	if n := openFDs(t); n != before {
		t.Errorf("%d sockets open, %d before", n, before)
	}
	// Where the address is free all the same, it is simply bound.
	c, err := Prepare(nil, []Spec{{Name: "a", Stream: "127.0.0.1:0"}}, nil, func(name, network, address string) (int, error) {
		if name != "a" || network != "tcp" || address != "127.0.0.1:0" {
			t.Errorf("asked for %s %s %s", name, network, address)
		}
		return -1, errors.New("no permission")
	})
	ok(t, err)
	ok(t, c.Abort())
}

func TestHolderOfNothing(t *testing.T) {
	free := only(t, commit(t, nil, nil, Spec{Name: "a", Stream: "127.0.0.1:0"}))
	ok(t, closeListener(free, true))
	for _, q := range [][2]string{{"tcp", free.Address}, {"tcp", "nonsense"}, {"unix", sockPath(t)}, {"unix", "@" + sockPath(t)}, {"other", "x"}} {
		if h := HolderOf(q[0], q[1]); len(h) > 0 {
			t.Errorf("%v: %+v", q, h)
		}
	}
}

func FuzzParseNetLine(f *testing.F) {
	f.Add("  0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 0 100 0 0 10 0")
	f.Add("  0: 00000000000000000000000001000000:0016 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 7")
	f.Add("  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode")
	f.Fuzz(func(t *testing.T, line string) {
		ip, inode, ok := parseNetLine(line)
		if ok && (inode == 0 || !ip.Addr().IsValid()) {
			t.Fatalf("%q: %v %d", line, ip, inode)
		}
	})
}

func FuzzParseUnixDiag(f *testing.F) {
	f.Add(make([]byte, 16))
	f.Add(append(make([]byte, 16), 12, 0, 4, 0, 1, 0, 0, 0, 2, 0, 0, 0))
	f.Add(append(make([]byte, 16), 7, 0, 0, 0, 0, 'a', 'b', 0, 255, 255, 1, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, ok := parseUnixDiag(b); ok != (len(b) >= sockdiag.UnixSize) {
			t.Fatal(ok)
		}
	})
}
