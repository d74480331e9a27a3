package cli_test

import (
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"
)

// Whoever is no worker is not heard, whatever its user, alive or not, and it is
// counted who tried. Another user cannot even say it.
func TestStrangersAreNotHeard(t *testing.T) {
	p := newPool(t)
	p.as(0)
	p.begin(slices.Insert(p.words(), 1, "--user", "nobody")...)
	before := p.status()
	inbox := variable(t, before.Workers[0].PID, "NOTIFY_SOCKET")
	say := func(uid uint32) *exec.Cmd {
		cmd := p.fugue("notify", "READY=1", "STATUS=evil", "STOPPING=1", "WATCHDOG=trigger", "MAINPID=1")
		cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+inbox)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		return cmd
	}
	if code, out, errs := ask(t, say(1)); code == 0 {
		t.Errorf("another user wrote to the inbox\n%s%s", out, errs)
	}
	said := func(uid uint32) {
		t.Helper()
		if code, out, errs := ask(t, say(uid)); code != 0 {
			t.Fatalf("notify: exit %d\n%s%s", code, out, errs)
		}
	}
	said(nobody)
	said(0)
	// One that is dead by the time that it is read.
	if err := p.run.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	said(nobody)
	if err := p.run.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	now := p.status()
	for end := time.Now().Add(guard); now.Strangers < before.Strangers+3 && time.Now().Before(end); {
		now = p.status()
	}
	if now.Strangers != before.Strangers+3 {
		t.Errorf("%d were counted, and %d before", now.Strangers, before.Strangers)
	}
	for _, w := range now.Workers {
		if w.Status == "evil" {
			t.Errorf("a stranger speaks for worker %d", w.Slot)
		}
	}
	p.untouched(before)
}
