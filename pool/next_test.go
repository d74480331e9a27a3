package pool_test

import (
	"testing"
	"time"

	"fugue/pool"
)

// TestNextSettles: one question is enough, also where one generation takes
// the slot that another waits for in its backoff, and the wait for the slot
// that this one gets instead is over already. Nobody would be woken for it.
func TestNextSettles(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	p := pool.New()
	p.SetLimits(1, pool.Limits{Backoff: time.Second})
	p.SetTarget(1, 1)
	for range 2 {
		acts, _ := p.Next(now)
		if len(acts) != 1 {
			t.Fatalf("got %v, want one spawn", acts)
		}
		p.Exited(now, acts[0].ID, false)
	}
	acts, wake := p.Next(now)
	if len(acts) != 0 || wake.IsZero() {
		t.Fatalf("got %v and %v, want a backoff", acts, wake)
	}
	// Just before slot 1 may be filled; slot 2 may be filled 170 ms earlier.
	now = wake.Add(-time.Millisecond)
	p.SetTarget(2, 1)
	acts, wake = p.Next(now)
	if len(acts) != 2 || !wake.IsZero() {
		t.Errorf("got %v and to be woken at %v, want a spawn of each generation", acts, wake)
	}
}
