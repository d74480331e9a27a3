package master

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"fugue/activation"
	"fugue/internal/config"
	"fugue/internal/control"
	"fugue/internal/handover"
	"fugue/internal/notify"
)

// A check may take longer than systemd gives a start of its own accord.
func TestTimeForTheCheck(t *testing.T) {
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
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: dir + "/systemd", Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	_ = manager.SetReadDeadline(time.Now().Add(10 * time.Second))
	systemd, err := notify.FromEnv(func(string) string { return dir + "/systemd" })
	if err != nil {
		t.Fatal(err)
	}
	h := &host{hold: hold, systemd: systemd, name: "web", inboxes: map[int]*notify.Inbox{}, report: func(fact) {}}
	defer h.close()
	h.settings.Log = logrus.New()
	h.settings.Load = func() (*config.Config, error) {
		text := "command = [\"/bin/true\"]\n[reload]\ncheck = [\"/bin/false\"]\ntimeout = \"10min\"\n"
		return config.Parse([]config.File{{Path: "/etc/fugue/web.toml", Text: []byte(text)}}, config.Options{WorkDir: "/"})
	}
	_, _ = h.Prepare(t.Context(), nil)
	want := notify.ExtendTimeout(10*time.Minute + margin)
	_ = manager.SetReadDeadline(time.Now().Add(10 * time.Second))
	for buf := make([]byte, 4096); ; {
		n, err := manager.Read(buf)
		if err != nil {
			t.Fatalf("systemd did not hear %q: %v", want, err)
		}
		if string(buf[:n]) == want {
			return
		}
	}
}

// The inbox of a predecessor is taken up; those of users that no worker has
// now are read on for that one's workers, and end with this master.
func TestInheritedInboxes(t *testing.T) {
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
	heard := make(chan struct{}, 3)
	h := &host{hold: hold, unit: "web.service", inboxes: map[int]*notify.Inbox{}, report: func(f fact) {
		if f.(datagram).Mark == notify.Datagram {
			heard <- struct{}{}
		}
	}}
	for _, name := range []string{"notify", "notify.65534", "notify.65533"} {
		before, err := notify.ListenInbox(dir+"/"+name, -1, -1, func(notify.Message) {})
		if err != nil {
			t.Fatal(err)
		}
		fd, err := unix.FcntlInt(uintptr(before.FD()), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		_ = before.Close()
		h.inherited = append(h.inherited, activation.Inherited{Name: "fugue." + name, FD: fd})
	}
	kept := h.inherited[1]
	inbox, err := h.inbox(65534, 65534)
	if err != nil {
		t.Fatal(err)
	}
	h.drainInboxes()
	if inbox.FD() != kept.FD || len(h.inherited) != 0 {
		t.Errorf("the inbox has fd %d, want %d; left of what was passed: %v", inbox.FD(), kept.FD, h.inherited)
	}
	for _, name := range []string{"notify", "notify.65534", "notify.65533"} {
		conn, err := net.Dial("unixgram", dir+"/"+name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte("STATUS=here")); err != nil {
			t.Error(err)
		}
		_ = conn.Close()
		select {
		case <-heard:
		case <-time.After(10 * time.Second):
			t.Errorf("%s is not read", name)
		}
	}
	h.close()
	if left, err := filepath.Glob(dir + "/notify*"); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v, want what a successor gets", left, err)
	}
}

// A master that reads the state by its path lets go of what the fd store passed
// to it, and has systemd keep one state and not one more with each master.
func TestOneStateIsStored(t *testing.T) {
	dir := t.TempDir()
	hold, err := control.Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer hold.Release()
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: dir + "/systemd"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	_ = manager.SetReadDeadline(time.Now().Add(10 * time.Second))
	systemd, err := notify.FromEnv(func(string) string { return dir + "/systemd" })
	if err != nil {
		t.Fatal(err)
	}
	before, err := handover.Create(filepath.Join(dir, stateFile))
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	// In the place of what the store passed, a pipe: it tells when it is closed.
	pipe := make([]int, 2)
	if err := unix.Pipe2(pipe, unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	h := &host{hold: hold, systemd: systemd, inherited: []activation.Inherited{{Name: storedState, FD: pipe[1]}}}
	if h.slots, err = handover.Open(filepath.Join(dir, stateFile)); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = h.slots.Close() }()
	if err := h.openState(); err != nil {
		t.Fatal(err)
	}
	if n, err := unix.Read(pipe[0], make([]byte, 1)); n != 0 || err != nil || len(h.inherited) > 0 {
		t.Errorf("the descriptor from the store is still open: %v; left of what was passed: %v", err, h.inherited)
	}
	for _, want := range []string{"FDSTOREREMOVE=1\nFDNAME=fugue.state", "FDSTORE=1\nFDNAME=fugue.state\nFDPOLL=0"} {
		got := make([]byte, 4096)
		n, err := manager.Read(got)
		if err != nil || strings.TrimSpace(string(got[:n])) != want {
			t.Errorf("systemd was told %q, %v; want %q", got[:n], err, want)
		}
	}
}

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
