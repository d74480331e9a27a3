package master

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"fugue/internal/control"
	"fugue/internal/proc"
)

// A reload that goes well: old workers are told to stop only when new ones
// have proved themselves, and whoever asked follows it to its verdict.
func TestReload(t *testing.T) {
	started(t, "workers = 3", func(h *harness) {
		events, err := heed(h.ctx, h.m)
		if err != nil {
			t.Fatal(err)
		}
		h.deploy("v2", good)
		h.with(func() { h.prepare = time.Millisecond }) // else its end may come in the same turn
		a := h.reload()
		h.state(control.StateReloading)
		h.pass(time.Millisecond)
		h.heard("RELOADING=1\nMONOTONIC_USEC=", 1)
		h.heard("READY=1", 0)
		h.pass(time.Second)
		if old := h.alive(1); len(old) != 3 {
			t.Errorf("%d old workers serve while the canary is not available", len(old))
		}
		c := h.expect(a, control.OutcomeOK, 0, "generation 2 serves (3 workers, ")
		if c.Number != a.number || c.Kind != kindReload || c.Ended.Before(c.Started) {
			t.Errorf("the verdict: %+v", c)
		}
		h.heard("READY=1", 1)
		h.pass(time.Second)
		h.serve(2, 3)
		h.state(control.StateRunning)
		h.logged("reload 2: generation 2 serves")

		var phases []string
		var last control.Progress
		for _, e := range a.events {
			if e.Progress != nil && *e.Progress == last {
				t.Errorf("told twice: %+v", last)
			} else if e.Progress != nil {
				last = *e.Progress
			}
			if e.Progress != nil && !slices.Contains(phases, e.Progress.Phase) {
				phases = append(phases, e.Progress.Phase)
			}
		}
		if got := strings.Join(phases, " "); got != "preparing canary rolling" {
			t.Errorf("phases: %s", got)
		}
		seen := map[string]int{}
		for len(events) > 0 {
			e := <-events
			seen[fmt.Sprint(e.Kind, " ", e.Generation)]++
		}
		for kind, want := range map[string]int{"spawned 2": 3, "ready 2": 3, "available 2": 3, "stopping 1": 3, "exited 1": 3, "change 0": 1} {
			if seen[kind] != want {
				t.Errorf("event %q came %d times, want %d: %v", kind, seen[kind], want, seen)
			}
		}
	})
}

// STATUS= follows a reload in one line each.
func TestStatusLines(t *testing.T) {
	started(t, "workers = 1", func(h *harness) {
		h.deploy("v2", good)
		h.with(func() { h.prepare = time.Second }) // else its end may come in the same turn
		h.expect(h.reload(), control.OutcomeOK, 0)
		h.pass(time.Second)
		want := []string{
			"STATUS=reloading: 1 of 1 workers ready, generation 1",
			"STATUS=reloading: 1 of 1 workers ready, generation 1; canary to generation 2: 0 of 1 ready",
			"STATUS=reloading: 2 of 1 workers ready, generation 1; canary to generation 2: 1 of 1 ready",
			"STATUS=running: 1 of 1 workers ready, generation 2; 1 stopping",
			"STATUS=running: 1 of 1 workers ready, generation 2",
		}
		if got := h.messages("STATUS="); !slices.Equal(got, want) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

// A reload is given as much time by systemd as it may take itself: while it
// advances, and again when it goes back.
func TestReloadAsksForTime(t *testing.T) {
	started(t, "workers = 2\n[ready]\nwhen = \"notify\"\ntimeout = \"infinity\"\n[reload]\ntimeout = \"60s\"", func(h *harness) {
		h.deploy("v2", hangs)
		h.with(func() { h.deploys["v2/3"] = good }) // the canary
		a := h.reload()
		h.extended(time.Minute, 2) // to prepare, to advance
		h.pass(59 * time.Second)
		h.extended(time.Minute, 2)
		h.expect(a, control.OutcomeUndone, control.ExitUndone, "took too long (1m0s)", "generation 1 serves")
		h.extended(time.Minute, 3)
		h.pass(time.Minute)
		h.serve(1, 2)
	})
}

// A release that does not work is undone, and the verdict says who failed
// how, with its last lines.
func TestBrokenRelease(t *testing.T) {
	late := good
	late.life, late.exit, late.stderr = 2*time.Second, proc.Exit{Signal: syscall.SIGABRT}, []string{"panic: boom", ""}
	slow := broken
	slow.tail = 2 * time.Second
	deaf := hangs
	deaf.deaf, deaf.seen = true, "has closed the socket"
	for _, c := range []struct {
		name    string
		how     manner
		text    string
		details string
	}{
		{"exits", broken, "reload undone: worker 3 (pid 5000003) of generation 2 ended with exit status 1 before it was available; generation 1 serves", "loading|no such table: users"},
		{"last lines come late", slow, "ended with exit status 1", "loading|no such table: users"},
		{"dies late", late, "worker 3 (pid 5000003) of generation 2 was killed by SIGABRT after it had become available; generation 1 serves", "panic: boom"},
		{"hangs", hangs, "worker 3 (pid 5000003) of generation 2 was not ready within 1m30s; send READY=1 from it, or set [ready] when or timeout; generation 1 serves", ""},
		{"hangs and does not stop", deaf, "was not ready within 1m30s", ""},
		{"cannot be launched", absent, "worker 3 of generation 2 could not be started: execute /srv/server: no such file or directory; generation 1 serves", ""},
		{"cannot be made", manner{start: errors.New("no memory")}, "worker 3 of generation 2 could not be started: no memory", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			started(t, "workers = 2\n[reload]\nbake = \"5s\"", func(h *harness) {
				served := h.alive(1)
				h.deploy("v2", c.how)
				end := h.expect(h.reload(), control.OutcomeUndone, control.ExitUndone, c.text)
				if got := strings.Join(end.Details, "|"); got != c.details {
					t.Errorf("details %q, want %q", got, c.details)
				}
				h.heard("READY=1", 1)
				h.pass(2 * time.Minute)
				h.serve(1, 2)
				h.state(control.StateRunning)
				if now := h.alive(1); !slices.Equal(now, served) {
					t.Errorf("old workers were touched by a canary that failed")
				}
				h.deploy("v3", good)
				h.expect(h.reload(), control.OutcomeOK, 0, "generation 3 serves")
			})
		})
	}
}

// One that fails when others have already taken over is undone as well.
func TestBrokenLate(t *testing.T) {
	started(t, "workers = 4", func(h *harness) {
		h.deploy("v2", good)
		h.with(func() { h.deploys["v2/3"] = broken }) // the last of them
		h.expect(h.reload(), control.OutcomeUndone, control.ExitUndone, "ended with exit status 1", "generation 1 serves")
		h.pass(time.Minute)
		h.serve(1, 4)
	})
}

// A worker that says it is stopping has failed as well, and leaves a verdict.
func TestGivesUp(t *testing.T) {
	for _, drain := range []time.Duration{0, time.Minute} {
		started(t, "workers = 2", func(h *harness) {
			h.deploy("v2", manner{silent: true, drain: drain, stderr: []string{"no licence"}})
			a := h.reload()
			w := h.worker(3)
			w.say(w.pid, "STOPPING=1")
			if drain == 0 {
				h.die(w, proc.Exit{})
			}
			c := h.expect(a, control.OutcomeUndone, control.ExitUndone, fmt.Sprintf("worker 3 (pid %d) of generation 2 said that it is stopping and ", w.pid))
			if len(c.Details) != 1 {
				t.Errorf("details: %q", c.Details)
			}
		})
	}
}

// Where the stop has no timeout, such a worker may never end; the verdict
// comes all the same, and names its pid.
func TestGivesUpAndStays(t *testing.T) {
	started(t, "workers = 2\n[stop]\ntimeout = \"infinity\"", func(h *harness) {
		h.deploy("v2", manner{silent: true, deaf: true, stderr: []string{"no licence"}})
		a := h.reload()
		w := h.worker(3)
		w.say(w.pid, "STOPPING=1")
		c := h.expect(a, control.OutcomeUndone, control.ExitUndone, fmt.Sprintf("worker 3 (pid %d) of generation 2 said that it is stopping and had not ended 10s later", w.pid))
		if len(c.Details) != 1 {
			t.Errorf("details: %q", c.Details)
		}
		h.die(w, proc.Exit{})
		h.serve(1, 2)
	})
}

// What is wrong before a worker is started refuses the reload and changes
// nothing.
func TestRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(h *harness)
		exit int
		text string
	}{
		{"bad file", func(h *harness) { h.write("workers = 2\nworker = 1") }, control.ExitBadInput, "/etc/fugue/web.toml:3:1: error: "},
		{"bad value", func(h *harness) { h.write("workers = \"many\"") }, control.ExitBadInput, "/etc/fugue/web.toml:2:1: error: "},
		{"check", func(h *harness) { h.refusal = control.Errorf(control.ExitUndone, "the check said no") }, control.ExitUndone, "reload refused: the check said no; generation 1 serves as before"},
		{"anything", func(h *harness) { h.refusal = errors.New("address in use") }, control.ExitUndone, "reload refused: address in use; generation 1 serves as before"},
	} {
		t.Run(c.name, func(t *testing.T) {
			started(t, "workers = 2", func(h *harness) {
				served := h.alive(1)
				c.do(h)
				h.with(func() { h.prepare = time.Minute })
				h.expect(h.reload(), control.OutcomeRefused, c.exit, c.text)
				h.heard("RELOADING=1", 1)
				h.heard("READY=1", 1)
				h.state(control.StateRunning)
				if !slices.Equal(h.alive(0), served) {
					t.Error("workers were touched")
				}
			})
		})
	}
}

// The file of a release that failed has no say in how many workers there are.
func TestUndoneKeepsTheNumber(t *testing.T) {
	for _, n := range []int{1, 6} {
		started(t, "workers = 4", func(h *harness) {
			served := h.alive(1)
			h.deploy("v2", broken)
			h.write(repeat(n, ""))
			h.expect(h.reload(), control.OutcomeUndone, control.ExitUndone)
			h.pass(time.Minute)
			h.serve(1, 4)
			if !slices.Equal(h.alive(1), served) {
				t.Errorf("workers = %d: old workers were replaced or stopped", n)
			}
			h.deploy("v3", good)
			h.expect(h.reload(), control.OutcomeOK, 0)
			h.pass(time.Minute)
			h.serve(3, n)
		})
	}
}

// No generation is forgotten that is needed, and none kept that is not.
func TestThousandReloads(t *testing.T) {
	started(t, "workers = 2\n[restart]\nmin_uptime = \"100ms\"", func(h *harness) {
		current, before := 1, h.openFiles()
		for i := range 1000 {
			h.listen([]string{"a", "b", "c"}[:i%4]...)
			how := good
			if i%3 == 0 {
				how = broken
			}
			h.deploy(fmt.Sprint("r", i), how)
			c := h.verdict(h.reload())
			if c.Outcome == control.OutcomeOK {
				current = i + 2
			}
			h.forget()
			h.pass(time.Second)
		}
		h.serve(current, 2)
		h.sizes(map[string]int{"generations": 1, "workers": 2, "changes": keptChanges, "pool": 1})
		h.listen()
		h.deploy("last", good)
		h.expect(h.reload(), control.OutcomeOK, 0)
		if now := h.openFiles(); now > before {
			t.Errorf("%d files are open, %d were before", now, before)
		}
		h.noFiles()
	})
}

// Who asks for a reload sees it begin, also when the file was read and the sockets
// bound before the loop had turned once.
func TestReloadShowsItsBeginning(t *testing.T) {
	started(t, "workers = 2", func(h *harness) {
		var ticket control.Ticket
		err := h.m.ask(h.ctx, func(m *Master, now time.Time) {
			ticket = m.reload(now, false, false).join()
			synctest.Wait() // the release is prepared, and the loop is still at this fact
		})
		a := h.follow(h.now(), ticket, err)
		h.expect(a, control.OutcomeOK, 0)
		if first := a.events[0]; first.Progress == nil || first.Progress.Phase != "preparing" || first.Progress.Generation != 2 {
			t.Errorf("the first that was told: %+v", first)
		}
	})
}
