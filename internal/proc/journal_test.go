package proc

import (
	"bufio"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"fugue/internal/launch"
)

// What journald sees: a stream each for output and error, made by the worker
// itself before it gave up its rights, and so with its number.
func TestJournalStreams(t *testing.T) { bothWays(t, testJournalStreams) }

func testJournalStreams(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stdout")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := spec("/bin/sh", "-c", `echo out; echo err >&2; echo $JOURNAL_STREAM; stat -L -c %d:%i /dev/stderr; id -u`)
	s.Plan.Env = []string{"PATH=/usr/bin:/bin", "JOURNAL_STREAM=1:2"}
	s.Plan.UID, s.Plan.GID = 65534, 65534
	s.Plan.Journal = &launch.Journal{Path: path, Identifier: "web/3"}
	r := start(t, s)
	var streams []*bufio.Reader
	for _, priority := range []string{"6", "4"} {
		conn, err := l.AcceptUnix()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if pid, uid := peer(t, conn); pid != r.PID() || uid != 0 {
			t.Errorf("the stream is of process %d, uid %d; the worker is %d", pid, uid, r.PID())
		}
		lines := bufio.NewReader(conn)
		var header string
		for range 7 {
			header += readLine(t, lines) + "\n"
		}
		if d := cmp.Diff("web/3\n\n"+priority+"\n1\n0\n0\n0\n", header); d != "" {
			t.Error(d)
		}
		streams = append(streams, lines)
	}
	r.up()
	out, err := io.ReadAll(streams[0])
	if err != nil {
		t.Fatal(err)
	}
	errs, err := io.ReadAll(streams[1])
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(out), "\n")
	if len(lines) != 5 || lines[0] != "out" || lines[1] != lines[2] || lines[3] != "65534" || string(errs) != "err\n" {
		t.Errorf("output %q, error %q", out, errs)
	}
	if got := r.wait(); !got.Success() {
		t.Error(got)
	}
}

func peer(t *testing.T, conn *net.UnixConn) (pid, uid int) {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var cred *unix.Ucred
	_ = raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err != nil {
		t.Fatal(err)
	}
	return int(cred.Pid), int(cred.Uid)
}
