package unread

import (
	"net"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

func TestNote(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var tr Tracker
	look := func(after time.Duration, all ...conn) map[uint32]time.Duration {
		now = now.Add(after)
		return tr.note(now, all, 4*time.Second, 2*time.Second)
	}
	idle, busy, queue := conn{1, 11, 5, 100, ""}, conn{2, 12, 5, 100, ""}, conn{3, 13, 50, 0, ""}
	for i := range 4 {
		busy.taken += 10 // it is read, and more comes
		queue.waiting--  // unix: less waits
		if late := look(time.Second, idle, busy, queue); len(late) > 0 {
			t.Fatalf("after %d looks: %v", i+1, late)
		}
	}
	busy.taken++
	queue.waiting += 40 // more has come, nobody has read
	if late := look(time.Second, idle, busy, queue); len(late) != 1 || late[11] != 4*time.Second {
		t.Errorf("late: %v, want inode 11 for 4s", late)
	}
	// Not looked for too long: that time counts for nobody, and what was before
	// is not forgotten. On a machine with too much to do looks are late.
	look(time.Second, idle)
	slow := conn{4, 14, 5, 100, ""}
	look(time.Second, idle, slow)
	for i := range 3 {
		if late := look(time.Second, slow); len(late) != 0 {
			t.Errorf("%d: late: %v", i, late)
		}
		if late := look(time.Hour, slow); len(late) != 0 {
			t.Errorf("late after a pause: %v", late)
		}
	}
	if late := look(time.Second, slow); len(late) != 1 || late[14] != 4*time.Second {
		t.Errorf("late: %v, want inode 14 for 4s", late)
	}
	// Read, and unread again.
	look(time.Second)
	for range 4 {
		if late := look(time.Second, idle); len(late) != 0 {
			t.Errorf("late: %v", late)
		}
	}
}

// Real sockets of this process: bytes that wait are found, what was read is
// not, nor what nobody has accepted, nor a FIN.
func TestLook(t *testing.T) {
	dir := t.TempDir()
	for name, at := range map[string]struct{ network, address string }{
		"IPv4": {"tcp4", "127.0.0.1:0"}, "IPv6": {"tcp6", "[::1]:0"}, "both": {"tcp", "[::]:0"},
		"path": {"unix", filepath.Join(dir, "s")}, "abstract": {"unix", "@fugue-unread-" + filepath.Base(dir)},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen(at.network, at.address)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			network := "tcp"
			if at.network == "unix" {
				network = "unix"
			}
			mine := []Listener{{network, l.Addr().String()}, {"udp", "x"}}
			dial := func() (client, server net.Conn) {
				client, err := net.Dial(l.Addr().Network(), l.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { client.Close() })
				if server, err = l.Accept(); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { server.Close() })
				return client, server
			}
			say := func(c net.Conn) {
				if _, err := c.Write([]byte("hello")); err != nil {
					t.Fatal(err)
				}
			}
			read, reader := dial()
			say(read)
			if _, err := reader.Read(make([]byte, 16)); err != nil {
				t.Fatal(err)
			}
			gone, _ := dial()
			gone.Close()
			found := func() []conn {
				all, err := connections(mine[0])
				if err != nil {
					t.Fatal(err)
				}
				return all
			}
			if all := found(); len(all) != 0 {
				t.Errorf("found %+v, and nothing waits", all)
			}
			left, _ := dial()
			say(left)
			queued, err := net.Dial(l.Addr().Network(), l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer queued.Close()
			say(queued)
			all := found()
			for len(all) == 0 { // over the loopback in a moment; and a dump may pass over one
				all = found()
			}
			if len(all) != 1 || all[0].waiting != 5 {
				t.Fatalf("found %+v, want five bytes in one connection", all)
			}
			if network == "tcp" && all[0].taken != 0 {
				t.Errorf("taken: %d", all[0].taken)
			}
			if network == "unix" { // one that a dump has passed over is found by itself
				if c, ok := again(all[0]); !ok || c != all[0] {
					t.Errorf("again: %+v, %v, want %+v", c, ok, all[0])
				}
				other := all[0]
				other.cookie++
				if c, ok := again(other); ok {
					t.Errorf("another's cookie: %+v", c)
				}
			}
			say(left)
			var tr Tracker
			leaders := []int{syscall.Getpgrp()}
			if _, err := tr.Look(mine, leaders, 0, time.Hour); err != nil {
				t.Fatal(err)
			}
			held, err := tr.Look(mine, append(leaders, 1<<30), 0, time.Hour)
			if err != nil || len(held) != 1 || held[0].Leader != leaders[0] {
				t.Errorf("held %+v, %v; want one of the group %d", held, err, leaders[0])
			}
			if held, err := tr.Look(mine, []int{1 << 30}, 0, time.Hour); err != nil || len(held) != 0 {
				t.Errorf("held by others: %+v, %v", held, err)
			}
		})
	}
}
