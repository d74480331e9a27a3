package master

import (
	"context"
	"syscall"
	"testing"
	"time"

	"fugue/internal/control"
)

func (h *harness) tell(fate string) *asked {
	h.Helper()
	return h.ask(func(m *Master) (control.Ticket, error) { return m.Job(h.ctx, control.JobRequest{Fate: fate}) })
}

// cannotAsk is a systemd that never answers.
func cannotAsk(ctx context.Context) (string, error) { <-ctx.Done(); return "", ctx.Err() }

// A master that is told systemd's job does not wait for its own question,
// whether the signal came before or not.
func TestToldOfTheJob(t *testing.T) {
	for _, c := range []struct {
		fate  string
		final bool
		begun bool // by a TERM
	}{{"stop", true, false}, {"restart", false, false}, {"stop", true, true}, {"restart", false, true}} {
		started(t, "workers = 2", func(h *harness) {
			h.m.opts.Unit = "web.service"
			h.job = cannotAsk
			begun := time.Now()
			if c.begun {
				h.signal(syscall.SIGTERM)
			}
			h.verdict(h.tell(c.fate))
			if err := h.wait(); err != nil || time.Since(begun) >= jobTimeout {
				t.Errorf("%+v: %v after %v", c, err, time.Since(begun))
			}
			if h.m.finalStop() != c.final {
				t.Errorf("%+v: the sockets are closed for good: %v", c, h.m.finalStop())
			}
		})
	}
}

// Without a unit there is no job, and nothing is stopped.
func TestToldOfAJobWithoutAUnit(t *testing.T) {
	started(t, "workers = 2", func(h *harness) {
		_, err := h.m.Job(h.ctx, control.JobRequest{Fate: "stop"})
		if exitOf(err) != control.ExitUndone {
			t.Fatalf("%v, want exit 5", err)
		}
		h.mentions(err.Error(), "fugue stop ")
		h.state(control.StateRunning)
	})
}
