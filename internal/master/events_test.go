package master

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"fugue/internal/control"
	"fugue/internal/proc"
)

// A follower that does not keep up loses events, is told how many, and holds
// up nobody.
func TestSlowFollower(t *testing.T) {
	started(t, "workers = 10", func(h *harness) {
		slow, err := heed(h.ctx, h.m)
		if err != nil {
			t.Fatal(err)
		}
		fast, err := heed(h.ctx, h.m)
		if err != nil {
			t.Fatal(err)
		}
		all := 0
		go func() {
			for range fast {
				all++
			}
		}()
		for range 30 {
			for _, p := range h.alive(0) {
				h.die(p, proc.Exit{})
			}
			h.pass(2 * time.Second)
		}
		read := len(slow)
		for range read {
			if e := <-slow; e.Kind == "lost" {
				t.Errorf("told of a loss before there was room: %+v", e)
			}
		}
		before := all
		h.die(h.worker(1), proc.Exit{})
		e := <-slow
		if want := fmt.Sprintf("%d events were lost: read faster", before-read); e.Kind != "lost" || e.Text != want {
			t.Errorf("got %q %q, want %q", e.Kind, e.Text, want)
		}
		if e := <-slow; e.Kind != "exited" {
			t.Errorf("then %+v", e)
		}
		h.pass(time.Minute)
		for len(slow) > 0 {
			if e := <-slow; e.Kind == "lost" {
				t.Errorf("told of the loss again: %+v", e)
			}
		}
	})
}

// Who follows and goes away is forgotten; who stays hears the end.
func TestFollowersComeAndGo(t *testing.T) {
	started(t, "workers = 1", func(h *harness) {
		for range 100 {
			ctx, leave := context.WithCancel(context.Background())
			events, err := heed(ctx, h.m)
			if err != nil {
				t.Fatal(err)
			}
			leave()
			for range events { // until it is closed
			}
		}
		h.sizes(map[string]int{"followers": 0})
		events, err := heed(h.ctx, h.m)
		if err != nil {
			t.Fatal(err)
		}
		h.ask(func(m *Master) (control.Ticket, error) { return m.Stop(h.ctx) })
		_ = h.wait()
		var last control.Event
		for last = range events {
		}
		if last.Change == nil || last.Change.Kind != kindStop || last.Change.State != control.ChangeDone {
			t.Errorf("the last event: %+v", last)
		}
		if _, err := heed(h.ctx, h.m); err == nil {
			t.Error("events of a pool that has ended")
		}
	})
}

// Many come, read a little and go, while workers die, log files are opened again
// and others ask for the status; whoever stays misses nothing.
func TestFollowersInACrowd(t *testing.T) {
	started(t, "workers = 4", func(h *harness) {
		steady, err := heed(h.ctx, h.m)
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		over := make(chan struct{})
		for i := range 16 {
			all.Go(func() {
				for round := 0; ; round++ {
					select {
					case <-over:
						return
					default:
					}
					ctx, leave := context.WithTimeout(h.ctx, time.Duration(1+(i+round)%5)*time.Second)
					if _, err := h.m.Status(ctx); err != nil {
						t.Errorf("status: %v", err)
					}
					events, err := heed(ctx, h.m)
					if err != nil {
						t.Errorf("events: %v", err)
					}
					for range events { // until its time is over
					}
					leave()
				}
			})
		}
		last, read := 0, 0
		for range 40 {
			for _, p := range h.alive(0) {
				h.die(p, proc.Exit{})
			}
			h.signal(syscall.SIGUSR1)
			h.pass(1700 * time.Millisecond)
			for len(steady) > 0 {
				e := <-steady
				if e.Kind == "lost" || last > 0 && e.Seq != last+1 {
					t.Fatalf("after event %d comes %+v", last, e)
				}
				last = e.Seq
				read++
			}
		}
		close(over)
		all.Wait()
		if read < 40*4*3 { // exited, spawned, ready
			t.Errorf("%d events", read)
		}
		h.sizes(map[string]int{"followers": 1})
	})
}

// Each event of a worker says which; each has a time.
func TestEventsSayWho(t *testing.T) {
	started(t, "workers = 2", func(h *harness) {
		events, err := heed(h.ctx, h.m)
		if err != nil {
			t.Fatal(err)
		}
		h.deploy("v2", absent)
		h.verdict(h.reload())
		h.deploy("v3", good)
		h.verdict(h.reload())
		all := h.alive(0)
		all[0].say(all[0].pid, "STOPPING=1")
		h.die(all[1], proc.Exit{Code: 1})
		h.pass(time.Minute)
		synctest.Wait()
		kinds := map[string]bool{}
		for len(events) > 0 {
			e := <-events
			kinds[e.Kind] = true
			if e.Time.IsZero() {
				t.Errorf("no time: %+v", e)
			}
			switch e.Kind {
			case "change", "progress", "state":
			default:
				if e.Slot == 0 || e.PID == 0 || e.Generation == 0 {
					t.Errorf("no worker: %+v", e)
				}
			}
		}
		for _, kind := range []string{"spawned", "ready", "available", "stopping", "exited", "failed", "change", "progress", "state"} {
			if !kinds[kind] {
				t.Errorf("no event %q", kind)
			}
		}
	})
}

// heed follows what happens from now on.
func heed(ctx context.Context, m *Master) (<-chan control.Event, error) {
	t, err := m.Events(ctx, -1)
	return t.Events, err
}

// missed are the events behind a number, as far as they are there at once.
func (h *harness) missed(after int) (list []control.Event) {
	h.Helper()
	ctx, leave := context.WithCancel(h.ctx)
	defer leave()
	t, err := h.m.Events(ctx, after)
	if err != nil {
		h.Fatal(err)
	}
	for len(t.Events) > 0 {
		list = append(list, <-t.Events)
	}
	return list
}

// inOrder fails unless each event has the number behind that of the one before.
func (h *harness) inOrder(events []control.Event, first int) {
	h.Helper()
	for i, e := range events {
		if e.Seq != first+i {
			h.Errorf("event %d of %d has number %d, want %d: %+v", i, len(events), e.Seq, first+i, e)
			return
		}
	}
}

// Who was cut off asks for what came behind a number, and misses nothing that
// is kept; of what is not, there is a word.
func TestEventsAfter(t *testing.T) {
	started(t, "workers = 2", func(h *harness) {
		all := h.missed(0)
		if len(all) < 5 {
			t.Fatalf("only %d events of a start", len(all))
		}
		h.inOrder(all, 1)
		last := len(all)
		h.inOrder(h.missed(last-2), last-1)
		if more := h.missed(last); len(more) != 0 {
			t.Errorf("nothing happened, and there is %+v", more)
		}
		if more := h.missed(last + 9); len(more) != last+1 || more[0].Kind != "lost" || more[0].Seq != 0 {
			t.Errorf("behind a number of another life: %+v", more)
		}
		for range keptEvents {
			h.die(h.worker(1), proc.Exit{})
			h.pass(2 * time.Second)
		}
		now := h.missed(last)
		if want := fmt.Sprintf("%d events were lost: ask again sooner", now[0].Seq-last); now[0].Kind != "lost" || now[0].Text != want || len(now) != keptEvents+1 {
			t.Errorf("%d events, the first %+v, want %q", len(now), now[0], want)
		}
		h.inOrder(now, now[0].Seq)
	})
}

// Numbers go on over a handover, and what happened on the other side of it can
// still be asked for. After a death they go on too, higher than any that the
// dead one can have given out, and it is said that something may be missing.
func TestEventsOverMasters(t *testing.T) {
	started(t, "workers = 2\norphans = \"keep\"", func(h *harness) {
		before := h.missed(0)
		h.expect(h.upgrade(), "ok", 0)
		h.pass(time.Second)
		all := h.missed(0)
		h.inOrder(all, 1)
		if len(all) <= len(before) {
			t.Errorf("%d events, and after a handover %d", len(before), len(all))
		}
		for i, e := range before {
			if all[i].Kind != e.Kind || all[i].PID != e.PID {
				t.Errorf("event %d was %+v and is %+v", i+1, e, all[i])
			}
		}
		h.kill9()
		h.succeed(false)
		h.pass(time.Second)
		h.die(h.worker(1), proc.Exit{})
		h.pass(2 * time.Second)
		now := h.missed(len(all))
		if len(now) < 2 || now[0].Kind != "lost" || now[0].Text != "the master before this one died: what happened between is not known" || now[0].Seq < eventGap {
			t.Fatalf("after a death: %+v", now)
		}
		h.inOrder(now, now[0].Seq)
		if more := h.missed(now[len(now)-1].Seq); len(more) != 0 {
			t.Errorf("asked again: %+v", more)
		}
	})
}
