package master

import (
	"net"
	"os"
	"testing"
	"time"

	"fugue/internal/control"
	"fugue/internal/notify"
)

// Workers of one user have one inbox, whatever their group: a second one at
// the same path would leave the first, and the fd store's of that name,
// unreachable.
func TestInboxOfUser(t *testing.T) {
	dir, err := os.MkdirTemp("", "f")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	hold, err := control.Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer hold.Release()
	heard := make(chan fact, 1)
	h := &host{hold: hold, inboxes: map[int]*notify.Inbox{}, report: func(f fact) {
		if d, ok := f.(datagram); ok && d.Mark == notify.Datagram {
			heard <- f
		}
	}}
	defer h.close()
	const uid = 65534
	paths := map[string]bool{}
	for _, who := range []struct{ uid, gid int }{{uid, 100}, {uid, 200}, {uid, 100}, {-1, -1}, {os.Geteuid(), 100}} {
		inbox, err := h.inbox(who.uid, who.gid)
		if err != nil {
			t.Fatal(err)
		}
		paths[inbox.Path()] = true
	}
	if len(h.inboxes) != 2 || len(paths) != 2 || !paths[dir+"/notify"] || !paths[dir+"/notify.65534"] {
		t.Errorf("%d inboxes at %v, want one a user", len(h.inboxes), paths)
	}
	conn, err := net.Dial("unixgram", dir+"/notify.65534")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("STATUS=here")); err != nil {
		t.Fatal(err)
	}
	select {
	case <-heard:
	case <-time.After(10 * time.Second):
		t.Error("what was sent there is not read")
	}
}
