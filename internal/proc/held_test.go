package proc

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A worker that its master has not written down must not come to be: neither
// before the word, nor without it.
func TestHeld(t *testing.T) { bothWays(t, testHeld) }

func testHeld(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "mark")
	s := spec("/bin/sh", "-c", "echo ran > "+mark)
	s.Plan.Held = true

	r := start(t, s)
	select {
	case <-r.launched:
		t.Fatal("launched without a word")
	case <-time.After(100 * time.Millisecond): // it would have run long ago
	}
	if _, err := os.Stat(mark); err == nil {
		t.Fatal("its command ran without a word")
	}
	r.Proceed()
	r.Proceed() // says nothing new
	if err := <-r.launched; err != nil {
		t.Fatal(err)
	}
	if got := r.wait(); !got.Success() {
		t.Error(got)
	}
	if err := os.Remove(mark); err != nil {
		t.Error(err)
	}

	r = start(t, s)
	_ = r.gate.Close() // as the death of the master does
	<-r.launched
	if got := r.wait(); got.Success() {
		t.Error("a command without a master ended well")
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("its command ran without a master")
	}
}
