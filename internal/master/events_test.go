package master

import (
	"context"
	"fmt"
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
		slow, err := h.m.Events(h.ctx)
		if err != nil {
			t.Fatal(err)
		}
		fast, err := h.m.Events(h.ctx)
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
			events, err := h.m.Events(ctx)
			if err != nil {
				t.Fatal(err)
			}
			leave()
			for range events { // until it is closed
			}
		}
		h.sizes(map[string]int{"followers": 0})
		events, err := h.m.Events(h.ctx)
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
		if _, err := h.m.Events(h.ctx); err == nil {
			t.Error("events of a pool that has ended")
		}
	})
}

// Each event of a worker says which; each has a time.
func TestEventsSayWho(t *testing.T) {
	started(t, "workers = 2", func(h *harness) {
		events, err := h.m.Events(h.ctx)
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
