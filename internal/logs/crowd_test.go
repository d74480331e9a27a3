package logs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// shuffle does things over and over while others work, each beside the others.
func shuffle(work func(), others ...func()) {
	var all sync.WaitGroup
	var over atomic.Bool
	for _, other := range others {
		all.Go(func() {
			for !over.Load() {
				other()
			}
		})
	}
	work()
	over.Store(true)
	all.Wait()
}

// aside renames log files, as logrotate does.
func aside(t *testing.T, n *atomic.Int64, paths ...string) {
	for _, path := range paths {
		if err := os.Rename(path, fmt.Sprintf("%s.%d", path, n.Add(1))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	}
}

// counts is how often each marked line is in the files of a directory.
func counts(t *testing.T, dir string, mark func(line string) (string, bool)) map[string]int {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			text, ok := mark(line)
			if !ok {
				t.Fatalf("torn: %q", line)
			}
			found[text]++
		}
	}
	return found
}

// The master's own log takes entries from many goroutines while its place and its
// format change and its files are opened again: each entry is in one file, whole.
func TestOwnOfMany(t *testing.T) {
	const writers, entries, atOnce = 8, 500, 50 // that the queue holds
	dir := t.TempDir()
	paths := []string{filepath.Join(dir, "a"), filepath.Join(dir, "b")}
	log := logrus.New()
	own := NewOwn(io.Discard, false, log)
	own.Configure(OwnSettings{To: paths[0]})
	var set, renamed atomic.Int64
	shuffle(func() {
		var all sync.WaitGroup
		for w := range writers {
			all.Go(func() {
				for i := range entries {
					log.WithField("worker", w).Infof("entry %d/%d.", w, i)
					if i%atOnce == atOnce-1 {
						own.Flush()
					}
				}
			})
		}
		all.Wait()
		own.Flush()
	}, func() {
		n := set.Add(1)
		own.Configure(OwnSettings{To: paths[n%2], Format: []string{"text", "json"}[n/2%2]})
		own.Flush()
	}, func() {
		aside(t, &renamed, paths...)
		if _, err := own.Reopen(); err != nil {
			t.Error(err)
		}
	})
	found := counts(t, dir, func(line string) (string, bool) {
		_, text, ok := strings.Cut(line, "entry ")
		text, _, whole := strings.Cut(text, ".")
		return text, ok && whole
	})
	t.Logf("%d settings, %d files", set.Load(), renamed.Load())
	if len(found) != writers*entries {
		t.Errorf("%d entries of %d", len(found), writers*entries)
	}
	for text, n := range found {
		if n != 1 {
			t.Errorf("entry %s is there %d times", text, n)
		}
	}
}

// Workers that share a log file come and go, while it is opened again, kept for
// another image, and read from for verdicts: each line is in one file, whole.
func TestFilesOfMany(t *testing.T) {
	const slots, rounds, lines = 6, 8, 100
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	files := &Files{}
	var relays [slots]atomic.Pointer[Relay]
	var renamed, tails atomic.Int64
	life := func(slot, round int) error {
		f, err := files.Take(path, OurRights())
		if err != nil {
			return err
		}
		left := make(chan struct{})
		r, err := New(Writers{Stdout: f, Stderr: f, Ended: func() { files.Leave(f); close(left) }}, "web")
		if err != nil {
			return err
		}
		relays[slot].Store(r)
		out, errs := r.Worker()
		for i := range lines {
			for _, fd := range []int{out, errs} {
				_, e := unix.Write(fd, fmt.Appendf(nil, "%d/%d/%d/%v\n", slot, round, i, fd == errs))
				err = errors.Join(err, e)
			}
		}
		r.Started() // the worker's side is closed: it has ended
		<-left
		return err
	}
	shuffle(func() {
		var all sync.WaitGroup
		for slot := range slots {
			all.Go(func() {
				for round := range rounds {
					if err := life(slot, round); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
	}, func() {
		aside(t, &renamed, path)
		if _, err := files.Reopen(); err != nil {
			t.Error(err)
		}
	}, func() {
		kept, err := files.Keep()
		if err != nil {
			t.Error(err)
		}
		Drop(kept)
	}, func() {
		for slot := range relays {
			if r := relays[slot].Load(); r != nil {
				tails.Add(int64(len(r.Tail())))
			}
		}
	})
	found := counts(t, dir, func(line string) (string, bool) {
		text, ok := strings.CutPrefix(line, "web | ")
		return text, ok && strings.Count(text, "/") == 3 && strings.HasSuffix(text, "e\n")
	})
	t.Logf("%d files, %d lines of tails", renamed.Load(), tails.Load())
	if len(found) != slots*rounds*lines*2 {
		t.Errorf("%d lines of %d", len(found), slots*rounds*lines*2)
	}
	for text, n := range found {
		if n != 1 {
			t.Errorf("%q is there %d times", text, n)
		}
	}
	if len(files.open) > 0 {
		t.Errorf("open: %v", files.open)
	}
}
