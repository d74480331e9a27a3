package activation

import (
	"errors"
	"net"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// asNobody runs f without privileges on a thread that is thrown away.
func asNobody(t *testing.T, f func() error) error {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with us
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, 65534, 65534, 65534); errno != 0 {
			done <- errno
			return
		}
		done <- f()
	}()
	return <-done
}

func queue(t *testing.T, l Listener) (int, int) {
	t.Helper()
	now, limit, err := Queue(l)
	ok(t, err)
	return now, limit
}

func TestQueueOfConnections(t *testing.T) {
	for _, l := range commit(t, nil, nil,
		Spec{Name: "a", Stream: "127.0.0.1:0", Backlog: 5},
		Spec{Name: "b", Stream: "[::1]:0", Backlog: 5},
		Spec{Name: "c", Stream: sockPath(t), Backlog: 5},
		Spec{Name: "d", Stream: "@" + tempDir(t), Backlog: 5},
	).Listeners() {
		for i := range 4 {
			if now, limit := queue(t, l); now != i || limit != 5 {
				t.Errorf("%s: %d of %d, want %d of 5", l.Address, now, limit, i)
			}
			c, err := net.Dial(l.Network, l.Address)
			ok(t, err)
			defer c.Close()
			p := []unix.PollFd{{Fd: int32(l.FD), Events: unix.POLLIN}}
			unix.Poll(p, 5000)
		}
	}
}

func TestQueueOfDatagrams(t *testing.T) {
	s := commit(t, nil, nil, Spec{Name: "a", Datagram: "127.0.0.1:0", ReceiveBuffer: 65536}, Spec{Name: "b", Datagram: sockPath(t)})
	for _, l := range s.Listeners() {
		before, limit := queue(t, l)
		c, err := net.Dial(l.Network, l.Address)
		ok(t, err)
		defer c.Close()
		_, err = c.Write(make([]byte, 100))
		ok(t, err)
		now, _ := queue(t, l)
		wantLimit := 0
		if l.Network == "udp" {
			wantLimit = 131072
		}
		if before != 0 || now < 100 || limit != wantLimit {
			t.Errorf("%s: %d, then %d of %d", l.Network, before, now, limit)
		}
	}
}

func TestQueueOfWhatIsGone(t *testing.T) {
	s := commit(t, nil, nil, Spec{Name: "a", Stream: "@" + tempDir(t)}, Spec{Name: "b", Stream: "127.0.0.1:0"})
	ok(t, s.Close(true))
	for _, l := range s.Listeners() {
		if _, _, err := Queue(l); err == nil {
			t.Errorf("%s has a queue", l.Address)
		}
		if Listening(l) {
			t.Errorf("%s listens", l.Address)
		}
	}
}

// Any worker can shut the shared listener down.
func TestReviveTCP(t *testing.T) {
	for _, stream := range []string{"127.0.0.1:0", "[::1]:0"} {
		l := only(t, commit(t, nil, nil, Spec{Name: "a", Stream: stream, Backlog: 6}))
		ok(t, Revive(l)) // nothing to do
		ok(t, unix.Shutdown(l.FD, unix.SHUT_RDWR))
		if Listening(l) || connect(l) == nil {
			t.Fatal("still listens")
		}
		ok(t, Revive(l))
		if !Listening(l) || addressOf(t, l.FD) != l.Address {
			t.Errorf("listens: %v, on %s, want %s", Listening(l), addressOf(t, l.FD), l.Address)
		}
		if _, limit := queue(t, l); limit != 6 {
			t.Errorf("backlog %d", limit)
		}
		reaches(t, l)
	}
}

// A listener refuses, for all who hold it, and lets connections in again at its
// address: as often as is wanted.
func TestRefuse(t *testing.T) {
	for _, stream := range []string{"127.0.0.1:0", "[::1]:0"} {
		l := only(t, commit(t, nil, nil, Spec{Name: "a", Stream: stream, Backlog: 6}))
		dup, err := unix.Dup(l.FD)
		ok(t, err)
		defer unix.Close(dup)
		other := l
		other.FD = dup
		for range 3 {
			ok(t, Refuse(l))
			ok(t, Refuse(other)) // and once more is nothing
			if err := connect(l); !errors.Is(err, unix.ECONNREFUSED) {
				t.Errorf("connect: %v", err)
			}
			if addressOf(t, l.FD) != l.Address {
				t.Errorf("it gave up %s", l.Address)
			}
			ok(t, Revive(other))
			reaches(t, l)
		}
	}
	s := commit(t, nil, nil, Spec{Name: "a", Stream: sockPath(t)}, Spec{Name: "b", Datagram: "127.0.0.1:0"})
	for _, l := range s.Listeners() {
		wantErr(t, Refuse(l), "only TCP sockets that fugue bound", l.Address)
		if l.Refusable() || !Listening(l) {
			t.Errorf("%s was shut down", l.Address)
		}
	}
}

// One that goes refuses at once, whoever has a copy; a path and a datagram
// socket are left to their closing.
func TestHangUp(t *testing.T) {
	l := only(t, commit(t, nil, nil, Spec{Name: "a", Stream: "127.0.0.1:0"}))
	reaches(t, l)
	ok(t, HangUp(l))
	ok(t, HangUp(l))
	if err := connect(l); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("connect: %v", err)
	}
	s := commit(t, nil, nil, Spec{Name: "a", Stream: sockPath(t)}, Spec{Name: "b", Datagram: "127.0.0.1:0"})
	for _, l := range s.Listeners() {
		ok(t, HangUp(l))
		if !Listening(l) {
			t.Errorf("%s was shut down", l.Address)
		}
	}
}

// A reload and a takeover do it too, on the same port.
func TestPrepareRevives(t *testing.T) {
	spec := Spec{Name: "a", Stream: "127.0.0.1:0"}
	s := commit(t, nil, nil, spec)
	l := only(t, s)
	ok(t, unix.Shutdown(l.FD, unix.SHUT_RDWR))
	spec.Backlog = 4
	next := commit(t, s, nil, spec)
	if only(t, next).FD != l.FD {
		t.Fatal("another socket")
	}
	reaches(t, l)
	ok(t, unix.Shutdown(l.FD, unix.SHUT_RDWR))
	spec.Stream = l.Address
	commit(t, nil, []Inherited{{"fugue.listen.a.1", l.FD}}, spec)
	reaches(t, l)
}

func TestReviveOfOthers(t *testing.T) {
	path := Spec{Name: "a", Stream: sockPath(t)}
	s := commit(t, nil, nil, path, Spec{Name: "b", Datagram: "127.0.0.1:0"})
	for _, l := range s.Listeners() {
		if !Listening(l) {
			t.Fatalf("%s does not listen", l.Address)
		}
		_ = unix.Shutdown(l.FD, unix.SHUT_RDWR) // ENOTCONN on UDP, and yet it works
		if Listening(l) {
			t.Errorf("%s still listens", l.Address)
		}
		wantErr(t, Revive(l), "shut down by a worker", l.Address)
	}
	// A reload binds the path anew, and leaves one file.
	next := commit(t, s, nil, path)
	reaches(t, only(t, next))
	ok(t, next.Close(true))
	if _, err := os.Lstat(path.Stream); err == nil {
		t.Error("the path is still there")
	}
}
