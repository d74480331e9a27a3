package ready

import (
	"context"
	"errors"
	"os"
	"time"
)

const (
	// A look follows a fifth of the time passed after the last one, within
	// these bounds: a worker that is ready is found after at most a fifth
	// more than it took, and a slow one costs 20 looks a second.
	minPause = 2 * time.Millisecond
	maxPause = 50 * time.Millisecond
	// A worker that is slow to look at is looked at less often, to cost no
	// more than a twentieth of a CPU.
	costFactor = 20
	// firstNote is when a worker that is still not ready gets its first
	// explanation; the next ones come at twice the time each.
	firstNote = time.Second
)

// Watch looks at the worker until it waits on one of the sockets, and then
// calls found, once. While it does not, note is told now and then why, as in
// Seen.Note, whenever that has changed. It returns at once; both are called
// from a goroutine that ends with found, with ctx, or when the process is gone.
// One of them may still be under way when ctx ends.
//
// This polls, as nothing in the kernel tells when a process starts to wait.
func Watch(ctx context.Context, pid int, sockets map[uint64]bool, found func(), note func(string)) {
	go func() {
		l, err := newLooker(pid, sockets)
		if err != nil {
			if !errors.Is(err, os.ErrProcessDone) {
				note("cannot be looked at: " + err.Error())
			}
			return
		}
		defer l.close()
		watch(ctx, l, found, note)
	}()
}

// observer is a looker, or a test's.
type observer interface {
	look() (findings, error)
	explain(findings) Seen
}

func watch(ctx context.Context, o observer, found func(), note func(string)) {
	start := time.Now()
	nextNote, said := firstNote, ""
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		began := time.Now()
		f, err := o.look()
		cost := time.Since(began)
		switch {
		case ctx.Err() != nil || err != nil: // over, or the process is gone
			return
		case f.waiting:
			found()
			return
		}
		passed := time.Since(start)
		if passed >= nextNote {
			nextNote = 2 * passed
			if s := o.explain(f); s.Note != said {
				said = s.Note
				note(said)
			}
		}
		timer.Reset(max(min(max(passed/5, minPause), maxPause), costFactor*cost))
	}
}
