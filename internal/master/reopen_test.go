package master

import (
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"fugue/internal/control"
	"fugue/internal/proc"
)

func (h *harness) usr1() {
	h.m.report(pending{func() []proc.Signal { return []proc.Signal{{Signal: unix.SIGUSR1, FromUser: true}} }})
	h.pass(time.Second)
}

// reopenings are the texts of those that have happened.
func (h *harness) reopenings() (texts []string) {
	for _, e := range h.missed(0) {
		if e.Kind == "reopened" {
			texts = append(texts, e.Text)
		}
	}
	return texts
}

// Each USR1 opens the log files again, and is told; what workers hold is theirs
// to open, if they know the signal.
func TestReopen(t *testing.T) {
	started(t, "workers = 3\n[log]\nstderr = \"/var/log/x\"", func(h *harness) {
		pid := h.worker(2).pid
		h.with(func() { h.uncaught = map[int]bool{pid: true} })
		h.usr1()
		h.with(func() { h.reopenErr = errors.New("open /var/log/y: permission denied") })
		h.usr1()
		want := []string{
			"/var/log/web.log; the signal went on to worker 1, 3; worker 2 holds log files and does not catch the signal: use copytruncate, or reload",
			"/var/log/web.log; the signal went on to worker 1, 3; worker 2 holds log files and does not catch the signal: use copytruncate, or reload; not opened again: open /var/log/y: permission denied",
		}
		if got := h.reopenings(); strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("got\n%s", strings.Join(got, "\n"))
		}
		if h.worker(2) == nil || len(h.alive(0)) != 3 {
			t.Error("a worker that does not catch the signal got it")
		}
	})
}

// One that comes at the last moment before an exec is acted on by the next
// image, once.
func TestReopenOverAHandover(t *testing.T) {
	started(t, "workers = 1", func(h *harness) {
		h.with(func() { h.late = []proc.Signal{{Signal: unix.SIGUSR1, FromUser: true}} })
		h.expect(h.upgrade(), control.OutcomeOK, 0)
		h.pass(time.Second)
		if got := h.reopenings(); len(got) != 1 || got[0] != "/var/log/web.log" {
			t.Errorf("%q", got)
		}
		h.usr1()
		if got := h.reopenings(); len(got) != 2 {
			t.Errorf("%q", got)
		}
	})
}
