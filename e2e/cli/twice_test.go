package cli_test

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// sameMoment is how long after the first a second stop signal is the same word,
// as the documentation says.
const sameMoment = 500 * time.Millisecond

// Who asks to stop once more does not want to wait: the workers are killed. But
// what comes again in the same moment, as timeout(1) sends it, was meant once.
// So with a signal every little while the pool goes down at the first that is
// half a second late, and not before, however slow the machine is.
func TestStopTwice(t *testing.T) {
	for name, signal := range map[string]syscall.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT} {
		t.Run(name, func(t *testing.T) {
			p := newPool(t)
			// Nothing but a KILL ends these in the time of a test.
			p.begin(slices.Insert(p.words("-ignore-term"), 1, "--stop.timeout", "1h")...)
			workers := p.status().Workers
			t.Cleanup(func() { // before that of the pool, which waits for its end
				if t.Failed() {
					for _, w := range workers {
						_ = syscall.Kill(w.PID, syscall.SIGKILL)
					}
				}
			})
			began := time.Now()
			ended := make(chan error, 1)
			go func() { ended <- p.run.Wait() }()
			again := time.NewTicker(sameMoment / 20)
			defer again.Stop()
			late := time.After(guard)
			for sent := 0; ; sent++ {
				if err := p.run.Process.Signal(signal); err != nil && sent == 0 {
					t.Fatal(err)
				}
				select {
				case <-again.C:
					continue
				case <-late:
					t.Fatalf("%d signals do not end it", sent)
				case err := <-ended:
					if err != nil {
						t.Error(err)
					}
				}
				break
			}
			if took := time.Since(began); took < sameMoment {
				t.Errorf("signals of the same moment, %v, killed the workers", took)
			}
			if text := p.rest(); strings.Count(text, "stopping: stopped by SIG"+name) != 1 || !strings.Contains(text, "again: killing all workers") {
				t.Errorf("it said\n%s", text)
			}
		})
	}
}
