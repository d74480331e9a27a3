package notify

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

const (
	nobody = 65534
	python = "/usr/bin/python3"
)

// open listens at a fresh path that other users can reach.
func open(t *testing.T, uid int) (*Inbox, <-chan Message) {
	t.Helper()
	dir := shortDir(t)
	must(t, os.Chmod(dir, 0o711))
	return listen(t, filepath.Join(dir, "n"), uid)
}

func listen(t *testing.T, path string, uid int) (*Inbox, <-chan Message) {
	t.Helper()
	messages, deliver := mailbox(t)
	i, err := ListenInbox(path, uid, -1, deliver)
	must(t, err)
	t.Cleanup(func() { i.Close() })
	return i, messages
}

// mailbox delivers into a channel without room: what is not taken blocks.
func mailbox(t *testing.T) (<-chan Message, func(Message)) {
	messages := make(chan Message)
	return messages, func(m Message) {
		select {
		case messages <- m:
		case <-t.Context().Done():
		}
	}
}

func next(t *testing.T, messages <-chan Message) Message {
	t.Helper()
	select {
	case m := <-messages:
		return m
	case <-time.After(guard):
		t.Fatal("no message came")
		panic("unreachable")
	}
}

// say sends datagrams as this process.
func say(t *testing.T, path string, states ...string) {
	t.Helper()
	conn, err := net.Dial("unixgram", path)
	must(t, err)
	defer conn.Close()
	for _, s := range states {
		_, err := conn.Write([]byte(s))
		must(t, err)
	}
}

func TestTheInboxIsItsUsersAlone(t *testing.T) {
	old := unix.Umask(0)
	defer unix.Umask(old)
	i, _ := open(t, nobody)
	var st unix.Stat_t
	must(t, unix.Lstat(i.Path(), &st))
	if st.Uid != nobody || st.Mode != unix.S_IFSOCK|0o600 {
		t.Errorf("owner %d, mode %o", st.Uid, st.Mode)
	}
	flags, err := unix.FcntlInt(uintptr(i.FD()), unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("descriptor flags %x, %v", flags, err)
	}
}

func TestListenReplacesASocketAndNothingElse(t *testing.T) {
	dir := shortDir(t)
	path := filepath.Join(dir, "n")
	stale, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: path})
	must(t, err)
	stale.Close()
	i, messages := listen(t, path, -1)
	say(t, path, "READY=1")
	if m := next(t, messages); m.Fields["READY"] != "1" {
		t.Errorf("got %+v", m)
	}
	_ = i
	for name, make := range map[string]func(string) error{
		"file":      func(p string) error { return os.WriteFile(p, []byte("x"), 0o600) },
		"directory": func(p string) error { return os.Mkdir(p, 0o700) },
		"symlink":   func(p string) error { return os.Symlink(path, p) },
	} {
		p := filepath.Join(dir, name)
		must(t, make(p))
		before := openFDs(t)
		if _, err := ListenInbox(p, -1, -1, nil); err == nil {
			t.Errorf("a %s was replaced", name)
		}
		if _, err := os.Lstat(p); err != nil || openFDs(t) != before {
			t.Errorf("%s: %v, or a leaked descriptor", name, err)
		}
	}
	if _, err := ListenInbox(dir+"/"+strings.Repeat("x", 108), -1, -1, nil); err == nil || !strings.Contains(err.Error(), "runtime directory") {
		t.Errorf("a long path: %v", err)
	}
}

// A worker's descriptors are never kept: closing them answers BARRIER=1, and
// a worker must not be able to fill our table.
func TestReceivedDescriptorsAreClosed(t *testing.T) {
	i, messages := open(t, -1)
	s := connect(t, i.Path())
	before := openFDs(t)
	passed := make(chan error, 1)
	go func() { passed <- s.Barrier(t.Context()) }()
	if m := next(t, messages); m.FDs != 1 || m.Fields["BARRIER"] != "1" {
		t.Errorf("got %+v", m)
	}
	must(t, <-passed)
	for range 10 {
		must(t, s.Send("FDSTORE=1", make([]int, maxFDs)...))
		if m := next(t, messages); m.FDs != maxFDs || m.BadReason != "" {
			t.Fatalf("%d descriptors, %s", m.FDs, m.BadReason)
		}
	}
	must(t, s.Send("END=1"))
	next(t, messages)                      // by now the sender's copies are closed too
	if now := openFDs(t); now > before+1 { // its connection
		t.Errorf("%d descriptors open, %d before", now, before)
	}
	if got, want := i.Counts(), (Counts{Datagrams: 12, FDs: 1 + 10*maxFDs}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// READY=1 counts also when our table has no room for what came with it.
func TestAFullDescriptorTableCostsNoMessage(t *testing.T) {
	i, messages := open(t, -1)
	s := connect(t, i.Path())
	must(t, s.Send("N=1"))
	next(t, messages)
	var old unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &old))
	if f, err := os.Open("/dev/null"); err != nil {
		t.Fatal(err)
	} else { // room for none below the lowest free number
		fd := uint64(openFDs(t))
		f.Close()
		must(t, unix.Prlimit(0, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: fd + 3, Max: old.Max}, nil))
	}
	defer unix.Prlimit(0, unix.RLIMIT_NOFILE, &old, nil)
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Net: "unixgram", Name: i.Path()})
	must(t, err)
	defer conn.Close()
	raw, err := conn.SyscallConn()
	must(t, err)
	var sendErr error
	must(t, raw.Write(func(fd uintptr) bool {
		_, sendErr = unix.SendmsgN(int(fd), []byte(Ready), unix.UnixRights(make([]int, maxFDs)...), nil, 0)
		return true
	}))
	must(t, sendErr)
	if m := next(t, messages); m.Fields["READY"] != "1" || m.FDs >= maxFDs || m.PID != os.Getpid() {
		t.Errorf("got %+v", m)
	}
}

func TestBadDatagramsAreCountedAndNamed(t *testing.T) {
	i, messages := open(t, -1)
	full := "STATUS=" + strings.Repeat("x", maxState-7)
	bad := []string{full + "x", "hello", "READY=1\x00\x00", "\n"}
	go say(t, i.Path(), append(bad, full)...)
	for range bad {
		if m := next(t, messages); m.BadReason == "" || m.Fields != nil || m.PID != os.Getpid() {
			t.Errorf("got %+v", m)
		}
	}
	if m := next(t, messages); m.BadReason != "" || len(m.Fields["STATUS"]) != maxState-7 {
		t.Errorf("got %+v", m)
	}
	if got, want := i.Counts(), (Counts{Datagrams: 5, Bad: 4}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestAFloodWaitsAndLosesNothing(t *testing.T) {
	i, messages := open(t, -1)
	const n = 3000
	var senders sync.WaitGroup
	for range 3 {
		senders.Go(func() {
			var states []string
			for k := range n / 3 {
				states = append(states, "N="+strconv.Itoa(k))
			}
			say(t, i.Path(), states...)
		})
	}
	seen := map[string]int{}
	for range n {
		seen[next(t, messages).Fields["N"]]++
	}
	senders.Wait()
	for k := range n / 3 {
		if seen[strconv.Itoa(k)] != 3 {
			t.Fatalf("N=%d came %d times", k, seen[strconv.Itoa(k)])
		}
	}
}

func TestSyncComesAfterAllThatWasThere(t *testing.T) {
	i, messages := open(t, -1)
	i.Sync()
	if m := next(t, messages); m.Mark != Synced {
		t.Fatalf("got %+v", m)
	}
	for round := range 20 {
		say(t, i.Path(), "N=1", "N=2", "N=3", "N=4", "N=5") // the reader holds the first
		if round%2 == 0 {
			next(t, messages)
			say(t, i.Path(), "N=6")
		}
		i.Sync()
		i.Sync()
		var got []string
		for m := next(t, messages); m.Mark != Synced; m = next(t, messages) {
			got = append(got, m.Fields["N"])
		}
		if len(got) != 5 {
			t.Fatalf("round %d: before Synced came %v", round, got)
		}
		// The second call may have an answer of its own.
		say(t, i.Path(), "END=1")
		for m := next(t, messages); m.Fields["END"] == ""; m = next(t, messages) {
			if m.Mark != Synced {
				t.Fatalf("got %+v", m)
			}
		}
	}
}

// A worker that sends faster than we read, so that the socket is never empty.
func TestAFloodDoesNotHoldUpSync(t *testing.T) {
	path := filepath.Join(shortDir(t), "n")
	var conn net.Conn
	flooding, synced := make(chan struct{}), make(chan int)
	n := 0
	i, err := ListenInbox(path, -1, -1, func(m Message) {
		switch m.Mark {
		case Synced:
			synced <- n
		case Datagram:
			<-flooding
			n++
			conn.Write([]byte("N=1")) // for the one just taken
		}
	})
	must(t, err)
	conn, err = net.Dial("unixgram", path)
	must(t, err)
	defer conn.Close()
	for range 3 {
		_, err := conn.Write([]byte("N=1"))
		must(t, err)
	}
	i.Sync()
	close(flooding)
	select {
	case <-synced:
	case <-time.After(guard):
		t.Error("no answer")
	}
	must(t, i.Close())
}

// An exec in the middle of the traffic: what the old image has read it has
// delivered before Stopped, and the new one reads on from there.
func TestStopAndAdoptLoseNothing(t *testing.T) {
	i, messages := open(t, -1)
	const n = 2000
	go func() {
		var states []string
		for k := range n {
			states = append(states, "N="+strconv.Itoa(k))
		}
		say(t, i.Path(), states...)
	}()
	stops := 0
	for k := 0; k < n; {
		if k%100 == 50 && stops <= k/100 {
			stops++
			i.Stop()
			m := next(t, messages)
			for ; m.Mark != Stopped; m = next(t, messages) {
				if m.Fields["N"] != strconv.Itoa(k) {
					t.Fatalf("got %v, want N=%d", m.Fields, k)
				}
				k++
			}
			if stops%2 == 0 {
				must(t, i.Resume())
				continue
			}
			fd, err := unix.FcntlInt(uintptr(i.FD()), unix.F_DUPFD, 0) // CLOEXEC cleared, as for an exec
			must(t, err)
			must(t, unix.Close(i.FD()))
			var deliver func(Message)
			messages, deliver = mailbox(t)
			i, err = AdoptInbox(fd, i.Path(), deliver)
			must(t, err)
			continue
		}
		if m := next(t, messages); m.Fields["N"] != strconv.Itoa(k) {
			t.Fatalf("got %v, want N=%d", m.Fields, k)
		}
		k++
	}
	if stops < 10 {
		t.Errorf("only %d stops", stops)
	}
	must(t, i.Close())
}

func TestAdoptRefusesWhatIsNotTheInbox(t *testing.T) {
	i, _ := open(t, -1)
	dir := shortDir(t)
	gone, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: dir + "/gone"})
	must(t, err)
	defer gone.Close()
	must(t, os.Remove(dir+"/gone"))
	raw, err := gone.SyscallConn()
	must(t, err)
	goneFD := -1
	must(t, raw.Control(func(fd uintptr) { goneFD, err = unix.Dup(int(fd)) }))
	must(t, err)
	stream, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	udp, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	null, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	must(t, err)
	before := openFDs(t)
	for name, c := range map[string]struct {
		fd   int
		path string
	}{
		"another path": {i.FD(), dir + "/other"}, "path gone": {goneFD, dir + "/gone"},
		"stream": {stream, i.Path()}, "udp": {udp, i.Path()}, "no socket": {null, i.Path()}, "closed": {1 << 20, i.Path()},
	} {
		if _, err := AdoptInbox(c.fd, c.path, nil); err == nil {
			t.Errorf("%s was adopted", name)
		}
	}
	if now := openFDs(t); now != before {
		t.Errorf("%d descriptors open, %d before", now, before)
	}
	for _, fd := range []int{goneFD, stream, udp, null} {
		unix.Close(fd)
	}
}

func TestRemoveSparesASuccessor(t *testing.T) {
	dir := shortDir(t)
	path := filepath.Join(dir, "n")
	first, _ := listen(t, path, -1)
	second, messages := listen(t, path, -1)
	must(t, first.Remove())
	say(t, path, "READY=1")
	next(t, messages)
	must(t, second.Remove())
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the path stays: %v", err)
	}
}

// run starts a program that belongs to a group of its own, as a worker does.
func run(t *testing.T, uid int, path, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if uid != 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}
	}
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	stdin, hold, err := os.Pipe() // who reads it stays alive
	must(t, err)
	cmd.Stdin = stdin
	must(t, cmd.Start())
	stdin.Close()
	t.Cleanup(func() {
		hold.Close()
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		cmd.Wait()
		if t.Failed() && out.Len() > 0 {
			t.Logf("%s: %s", name, &out)
		}
	})
	return cmd
}

// systemd-notify waits for its barrier: 5 s and status 1 if that is not
// answered. As root it speaks in its parent's name.
func TestSystemdNotify(t *testing.T) {
	for _, uid := range []int{0, nobody} {
		for _, script := range []string{
			"exec systemd-notify --ready --status=up",
			"systemd-notify --ready --status=up; exit $?",
			"(systemd-notify --ready --status=up; exit $?); exit $?",
			"setsid -w systemd-notify --ready --status=up; exit $?",
		} {
			t.Run(fmt.Sprint(uid, " ", script), func(t *testing.T) {
				i, messages := open(t, uid)
				cmd := run(t, uid, i.Path(), "sh", "-c", script)
				worker := cmd.Process.Pid
				ready := next(t, messages)
				if diff := cmp.Diff(map[string]string{"READY": "1", "STATUS": "up"}, ready.Fields); diff != "" {
					t.Error(diff)
				}
				barrier := next(t, messages)
				if barrier.Fields["BARRIER"] != "1" || barrier.FDs != 1 {
					t.Errorf("got %+v", barrier)
				}
				exec := strings.HasPrefix(script, "exec")
				for _, m := range []Message{ready, barrier} {
					// Exec'ed by the worker itself, root's is in our name.
					if !m.From(worker) && !(exec && uid == 0 && m.PID == os.Getpid()) || m.UID != uid || m.GID != uid {
						t.Errorf("worker %d of %d: got %+v", worker, uid, m)
					}
				}
				start := time.Now()
				if err := cmd.Wait(); err != nil || time.Since(start) > 3*time.Second {
					t.Errorf("systemd-notify: %v after %s", err, time.Since(start))
				}
			})
		}
	}
}

func TestLineageOfAWorkersGrandchild(t *testing.T) {
	i, messages := open(t, -1)
	cmd := run(t, 0, i.Path(), "sh", "-c", `setsid -w sh -c '/usr/bin/python3 -c "
import os, socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.sendto(b\"PID=%d\" % os.getpid(), os.environ[\"NOTIFY_SOCKET\"])
os.read(0, 1)"; true'; true`)
	m := next(t, messages)
	if m.Fields["PID"] != strconv.Itoa(m.PID) {
		t.Errorf("got %+v", m)
	}
	worker := cmd.Process.Pid
	if !m.From(worker) || m.Lineage[0] == worker || m.Lineage[1] == worker {
		t.Errorf("worker %d, lineage %v: want it among the parents", worker, m.Lineage)
	}
	if m.Lineage[len(m.Lineage)-1] != os.Getpid() {
		t.Errorf("lineage %v does not end with us, %d", m.Lineage, os.Getpid())
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	must(t, err)
	if m.Cgroup != "" && !slices.Contains(strings.Split(string(own), "\n"), "0::"+m.Cgroup) {
		t.Errorf("cgroup %q, ours is %s", m.Cgroup, own)
	}
	if m.From(0) || m.From(-1) {
		t.Error("nobody is taken for the sender")
	}
}

// A child of ours is known by its number alone, unless orphans become our
// children too: then it may be the grandchild of any worker.
func TestLineageOfAChild(t *testing.T) {
	i, messages := open(t, -1)
	cmd := run(t, 0, i.Path(), python, "-c", `import os, socket
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
os.read(0, 1)`)
	worker := cmd.Process.Pid
	if m := next(t, messages); m.PID != worker || !slices.Equal(m.Lineage, []int{os.Getpid()}) {
		t.Errorf("worker %d: got %+v", worker, m)
	}
	full, _ := lineage(worker)
	if line, _ := (kinship{adopts: true}).of(worker); len(line) < 3 || !slices.Equal(line, full) {
		t.Errorf("as one that orphans come to: %v, want %v", line, full)
	}
	for _, pid := range []int{0, -1, 1, os.Getpid()} {
		if isChild(pid) {
			t.Errorf("%d is taken for a child", pid)
		}
	}
}

// Whoever may write to the socket is heard, and named: what a stranger's word
// is worth the master decides. This one has left its group and session and
// lost its parent.
func TestAStrangerIsDeliveredWithItsCredentials(t *testing.T) {
	i, messages := open(t, nobody)
	cmd := run(t, nobody, i.Path(), "sh", "-c", `setsid sh -c '
		while kill -0 '$$' 2>/dev/null; do :; done
		exec systemd-notify --ready' >/dev/null 2>&1 & exit`)
	worker := cmd.Process.Pid
	must(t, cmd.Wait())
	m := next(t, messages)
	if m.Fields["READY"] != "1" || m.UID != nobody || m.PID <= 0 || m.From(worker) {
		t.Errorf("worker %d: got %+v", worker, m)
	}
	next(t, messages) // its barrier
}

func TestASenderThatIsGoneOrElsewhere(t *testing.T) {
	i, messages := open(t, -1)
	const script = `import os, socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.sendto(b"WATCHDOG=1", os.environ["NOTIFY_SOCKET"])
s.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])`
	cmd := run(t, 0, i.Path(), python, "-c", script)
	pid := cmd.Process.Pid
	must(t, cmd.Wait()) // the second datagram is still in the socket
	next(t, messages)
	if m := next(t, messages); m.Fields["READY"] != "1" || m.PID != pid || m.Lineage != nil {
		t.Errorf("gone: got %+v", m)
	}
	// Another user namespace, where the uid is called otherwise.
	cmd = run(t, 0, i.Path(), "unshare", "--user", python, "-c", script+"\nos.read(0, 1)")
	if m := next(t, messages); m.Fields["WATCHDOG"] != "1" || m.UID != 0 || !m.From(cmd.Process.Pid) {
		t.Errorf("user namespace: got %+v", m)
	}
	next(t, messages)
	// Another PID namespace below ours: the kernel translates.
	cmd = run(t, 0, i.Path(), "unshare", "--pid", "--fork", python, "-c", script+"\nos.read(0, 1)")
	if m := next(t, messages); m.Fields["WATCHDOG"] != "1" || !m.From(cmd.Process.Pid) {
		t.Errorf("PID namespace: got %+v", m)
	}
	next(t, messages)
}
