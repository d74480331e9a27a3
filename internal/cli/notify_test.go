package cli

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fugue/internal/control"
)

func TestNotify(t *testing.T) {
	path := filepath.Join(t.TempDir(), "n")
	inbox, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { inbox.Close() })
	_ = inbox.SetReadDeadline(time.Now().Add(time.Minute))
	got := func() string {
		t.Helper()
		buf := make([]byte, 1000)
		n, err := inbox.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
	run := func(in string, args ...string) int {
		t.Helper()
		root := (&app{out: newScreen(nil, func(string) string { return "" })}).root()
		root.SetArgs(append([]string{"notify"}, args...))
		root.SetIn(strings.NewReader(in))
		root.SetOut(t.Output())
		root.SetErr(t.Output())
		return report(t.Output(), root.ExecuteContext(t.Context()))
	}

	t.Setenv("NOTIFY_SOCKET", "")
	if code := run("", "READY=1"); code != control.ExitFailed {
		t.Errorf("nobody to tell: exit %d", code)
	}
	t.Setenv("NOTIFY_SOCKET", path)
	if code := run("", "READY=1", "STATUS=warm"); code != 0 || got() != "READY=1\nSTATUS=warm" {
		t.Errorf("exit %d, or the words are not one datagram", code)
	}
	if code := run("WATCHDOG=1\n\nSTATUS=well\n", "-"); code != 0 || got() != "WATCHDOG=1" || got() != "STATUS=well" {
		t.Errorf("exit %d, or the lines are not a datagram each", code)
	}
	if code := run("", "READY"); code != control.ExitUsage {
		t.Errorf("no assignment: exit %d", code)
	}
	if code := run(""); code != control.ExitUsage {
		t.Errorf("no words: exit %d", code)
	}
}
