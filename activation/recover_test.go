package activation

import (
	"testing"

	"golang.org/x/sys/unix"
)

// A successor finds every socket by what it is, in whatever order it comes, and
// asks the workers only for what systemd did not pass.
func TestRecover(t *testing.T) {
	a := prepare(t, nil, nil, Spec{Name: "a", Stream: "127.0.0.1:0"}, Spec{Name: "b", Datagram: "127.0.0.1:0"}, Spec{Name: "c", Stream: sockPath(t)})
	was := a.Set().Listeners()
	var stored []Inherited
	for _, l := range was[:2] {
		fd, err := unix.FcntlInt(uintptr(l.FD), unix.F_DUPFD_CLOEXEC, 3)
		ok(t, err)
		stored = append(stored, Inherited{l.StoreName, fd})
	}
	inbox := Inherited{"fugue.notify", bound(t, "x", Spec{Datagram: "@" + sockPath(t)}).FD}
	extra := bound(t, "late.socket", Spec{Stream: "127.0.0.1:0"})
	for _, inherited := range [][]Inherited{
		{inbox, stored[0], stored[1], extra}, {stored[1], extra, stored[0], inbox}, {extra, inbox, stored[1], stored[0]},
	} {
		asked := 0
		r, err := Recover(was, inherited, func(inode uint64) int {
			asked++
			if inode != was[2].Inode {
				t.Errorf("asked for inode %d", inode)
			}
			return was[2].FD
		})
		ok(t, err)
		if asked != 1 || len(r.Lost) != 0 || len(r.Forget) != 0 || len(r.Others) != 1 || r.Others[0] != inbox {
			t.Errorf("%d questions, %+v", asked, r)
		}
		held := r.Held.Listeners()
		if len(held) != 4 || held[3].Name != "late.socket" || held[3].Origin != Systemd {
			t.Fatalf("held: %+v", held)
		}
		again, complete := r.Held.Again(was)
		for i, l := range again.Listeners() {
			inode, err := socketID(l.FD)
			if err != nil || inode != was[i].Inode || l.Name != was[i].Name || l.StoreName != was[i].StoreName || !complete {
				t.Errorf("%s is inode %d now, %v: %+v", was[i].Name, inode, err, l)
			}
		}
	}
	r, err := Recover(was, stored, func(uint64) int { return -1 })
	ok(t, err)
	if _, complete := r.Held.Again(was); complete || len(r.Lost) != 1 || r.Lost[0].Name != "c" {
		t.Errorf("lost: %+v", r.Lost)
	}
}

// A .socket unit that was started anew has another socket, and the same name
// and address.
func TestRecoverAnotherSocketOfTheUnit(t *testing.T) {
	now := bound(t, "web.socket", Spec{Stream: "127.0.0.1:0"})
	was := Listener{Name: "http", FDName: "web.socket", Origin: Systemd, Network: "tcp", Address: addressOf(t, now.FD), Inode: 1}
	r, err := Recover([]Listener{was}, []Inherited{now}, func(uint64) int { return -1 })
	ok(t, err)
	again, complete := r.Held.Again([]Listener{was})
	if !complete || again.Listeners()[0].FD != now.FD || again.Listeners()[0].Name != "http" {
		t.Errorf("%+v", again.Listeners())
	}
}
