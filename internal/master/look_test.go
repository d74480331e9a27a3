package master

import (
	"context"
	"slices"
	"strings"
	"testing/synctest"
	"time"

	"fugue/internal/control"
	"fugue/internal/notify"
)

func (h *harness) mentions(s string, words ...string) {
	h.Helper()
	for _, word := range words {
		if !strings.Contains(s, word) {
			h.Errorf("%q is missing in: %s", word, s)
		}
	}
}

func (h *harness) status() control.Status {
	h.Helper()
	synctest.Wait()
	s, err := h.m.Status(context.Background())
	if err != nil {
		h.Fatalf("status: %v", err)
	}
	return s
}

func (h *harness) state(want string) control.Status {
	h.Helper()
	s := h.status()
	if s.State != want {
		h.Fatalf("state %s (%s), want %s; %s", s.State, s.Reason, want, h.tale())
	}
	return s
}

// alive are the processes of a generation that have not been told to stop, by
// slot; of all generations for 0.
func (h *harness) alive(generation int) (list []*process) {
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range h.processes {
		if p.stops == 0 && (generation == 0 || p.generation == generation) {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b *process) int { return a.slot - b.slot })
	return list
}

func (h *harness) worker(slot int) *process {
	h.Helper()
	for _, p := range h.alive(0) {
		if p.slot == slot {
			return p
		}
	}
	h.Fatalf("there is no worker %d", slot)
	return nil
}

// serve checks how many workers of a generation serve, and no others live.
func (h *harness) serve(generation, n int) {
	h.Helper()
	s := h.status()
	if got := h.alive(generation); len(got) != n || len(h.alive(0)) != n || s.Ready != n || s.Generation != generation {
		h.Errorf("%d of generation %d live, %d in all, %d are ready of generation %d; want %d of %d; %s",
			len(got), generation, len(h.alive(0)), s.Ready, s.Generation, n, generation, h.tale())
	}
}

// messages are those to systemd that begin so.
func (h *harness) messages(prefix string) (list []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range h.told {
		if strings.HasPrefix(m.text, prefix) {
			list = append(list, m.text)
		}
	}
	return list
}

// heard checks how often systemd was told something.
func (h *harness) heard(prefix string, times int) {
	h.Helper()
	if got := h.messages(prefix); len(got) != times {
		h.Errorf("systemd was told %q %d times, want %d: %q", prefix, len(got), times, got)
	}
}

// extended checks how often systemd was asked for so much time, and a margin.
func (h *harness) extended(d time.Duration, times int) {
	h.Helper()
	h.heard(notify.ExtendTimeout(d+margin), times)
}

// forget drops what was told and logged until now.
func (h *harness) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.logMu.Lock()
	defer h.logMu.Unlock()
	h.told, h.lines = nil, nil
}

// logged checks that a line of the log has all these words.
func (h *harness) logged(words ...string) {
	h.Helper()
	h.logMu.Lock()
	defer h.logMu.Unlock()
	for _, line := range h.lines {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
			return
		}
	}
	h.Errorf("no line of the log has %q:\n%s", words, strings.Join(h.lines, "\n"))
}

func (h *harness) tale() string {
	h.logMu.Lock()
	defer h.logMu.Unlock()
	tail := h.lines[max(0, len(h.lines)-30):]
	return "the log:\n" + strings.Join(tail, "\n")
}
