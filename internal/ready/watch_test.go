package ready

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// fake is a worker in the time of a bubble.
type fake struct {
	start   time.Time
	cost    time.Duration
	readyAt time.Duration
	looks   []time.Duration
	notes   func(time.Duration) string
}

func (f *fake) look() (findings, error) {
	f.looks = append(f.looks, time.Since(f.start))
	<-time.After(f.cost)
	return findings{waiting: time.Since(f.start) >= f.readyAt}, nil
}

func (f *fake) explain(findings) Seen { return Seen{Note: f.notes(time.Since(f.start))} }

// follow runs watch until it ends by itself or after limit.
func (f *fake) follow(t *testing.T, limit time.Duration) (found bool, notes []string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f.start = time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		watch(ctx, f, func() {
			if found {
				t.Error("found twice")
			}
			found = true
		}, func(n string) { notes = append(notes, time.Since(f.start).Truncate(time.Second).String()+" "+n) })
	})
	return found, notes
}

func TestWatchBacksOff(t *testing.T) {
	f := &fake{readyAt: 10 * time.Second, notes: func(time.Duration) string { return "x" }}
	if found, _ := f.follow(t, time.Minute); !found {
		t.Error("not found")
	}
	for n := 1; n < len(f.looks); n++ {
		last, pause := f.looks[n-1], f.looks[n]-f.looks[n-1]
		if want := min(max(last/5, minPause), maxPause); pause != want {
			t.Fatalf("look %d, at %s, came after %s, want %s", n, f.looks[n], pause, want)
		}
	}
	if f.looks[0] != 0 || f.looks[len(f.looks)-1] > f.readyAt+maxPause {
		t.Errorf("first look at %s, last at %s", f.looks[0], f.looks[len(f.looks)-1])
	}
}

func TestWatchSparesTheCPU(t *testing.T) {
	f := &fake{cost: 10 * time.Millisecond, readyAt: time.Hour, notes: func(time.Duration) string { return "x" }}
	if found, _ := f.follow(t, 10*time.Second); found {
		t.Error("found")
	}
	if n := len(f.looks); n < 40 || n > 50 {
		t.Errorf("%d looks of 10 ms in 10 s", n)
	}
}

func TestWatchNotesChangesOnly(t *testing.T) {
	f := &fake{readyAt: 20 * time.Second, notes: func(passed time.Duration) string {
		if passed < 6*time.Second {
			return "holds"
		}
		return "listens"
	}}
	found, notes := f.follow(t, time.Minute)
	if diff := cmp.Diff([]string{"1s holds", "8s listens"}, notes); diff != "" || !found {
		t.Errorf("found %v\n%s", found, diff)
	}
}

// goleak watches over these two: the goroutine ends, and nothing is called.
func TestWatchEndsWithItsContext(t *testing.T) {
	s := newSocket(t, unix.SOCK_STREAM)
	w := py(t, s, "hold(); s.accept()")
	w.line()
	ctx, cancel := context.WithCancel(t.Context())
	Watch(ctx, w.pid(), s.set(), func() { t.Error("found") }, func(string) { t.Error("note") })
	cancel()
}

func TestWatchEndsWithTheProcess(t *testing.T) {
	s := newSocket(t, unix.SOCK_STREAM)
	w := py(t, s, "hold()")
	w.line()
	l, err := newLooker(w.pid(), s.set())
	must(t, err)
	defer l.close()
	w.in.Close()
	must(t, w.Wait())
	watch(t.Context(), l, func() { t.Error("found") }, func(n string) { t.Error(n) })
	Watch(t.Context(), w.pid(), s.set(), func() { t.Error("found") }, func(n string) { t.Error(n) })
}
