package cli_test

import (
	"fmt"
	"testing"

	"fugue/e2e"
	"fugue/internal/control"
)

// What a worker has started counts for it, and a worker that has grown too large
// is replaced by one that has not, which is said with the figure.
func TestAGrownWorkerIsReplaced(t *testing.T) {
	t.Parallel()
	// tail keeps what it is to print until the end, and then nobody reads it.
	const grows = `if [ "$FUGUE_WORKER" = 1 ]; then head -c 100000000 /dev/zero | tail -c 100000000 | sleep 100000 & fi; exec "$0"`
	p := newPool(t)
	p.begin("run", "--name", "web", "-n", "2", "-l", p.dir+"/web.sock", "--restart.min_uptime", "0", "--ready.when", "notify",
		"--recycle.max_memory", "64M", "/bin/sh", "-c", grows, e2e.Testworker(t))
	before := p.status()
	grown, other := before.Workers[0].PID, before.Workers[1].PID
	p.await(fmt.Sprintf("worker 1 (pid %d) of generation 1 is too large: it uses 9", grown)) // 95.4 MiB, and what a shell takes
	p.await(fmt.Sprintf("stopping worker 1 (pid %d) of generation 1: recycled for its memory", grown))
	var after control.Status
	for after = p.status(); len(after.Workers) != 2 || after.Ready != 2; after = p.status() {
	}
	if w := after.Workers; w[0].PID != other || w[0].Restarts > 0 || w[1].Slot != 3 {
		t.Errorf("after it: %+v", w)
	}
	if w := after.Workers[0]; w.MemoryFrom != "pss" || w.Memory < 1<<20 || w.Memory > 64<<20 {
		t.Errorf("worker %d uses %d by %q", w.Slot, w.Memory, w.MemoryFrom)
	}
}
