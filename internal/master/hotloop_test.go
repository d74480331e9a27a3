package master

import (
	"syscall"
	"testing"
	"time"

	"fugue/internal/proc"
)

// Without any min_uptime every worker is available the moment it is ready:
// one that dies then must not be started a thousand times a second.
func TestNoMinUptimeIsNoHotLoop(t *testing.T) {
	started(t, "workers = 1\n[restart]\nmin_uptime = \"0\"", func(h *harness) {
		deaths := 0
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
			if h.status().Ready > 0 {
				deaths++
				h.die(h.worker(1), proc.Exit{Signal: syscall.SIGSEGV})
			}
			h.pass(time.Millisecond)
		}
		if deaths < 3 || deaths > 15 {
			t.Errorf("%d starts in 10 s", deaths)
		}
	})
}
