package master

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"fugue/internal/control"
	"fugue/internal/proc"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "the one schedule to run")
	schedules = flag.Int("schedules", 300, "how many random schedules to run")
)

// TestRandom lets anything happen to a master: releases that are broken,
// files that are bad, workers that die, hang and give up, everything that can
// be asked for, in any order. When nothing goes wrong any more there are
// exactly the workers that are wanted, of one release; everybody who asked
// for something has had one answer; and a stop leaves nothing behind.
func TestRandom(t *testing.T) {
	if *seedFlag != 0 {
		random(t, *seedFlag)
		return
	}
	for range *schedules {
		seed := rand.Uint64()
		if !t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { random(t, seed) }) {
			t.Fatalf("again with: go test ./internal/master -run TestRandom -seed %d", seed)
		}
	}
}

// dice makes the choices of one schedule.
type dice struct {
	*rand.Rand
	*harness
	deployed int
	ending   bool // it has been told to stop
}

func random(t *testing.T, seed uint64) {
	d := &dice{Rand: rand.New(rand.NewPCG(seed, 0))}
	play(t, d.config(), func(h *harness) {
		d.harness = h
		if d.IntN(2) == 0 {
			h.m.opts.Unit = "web.service"
			h.job = d.systemd()
		}
		if d.IntN(3) == 0 {
			h.strangers = []int{71, 72}
			h.manners["stranger 71"], h.manners["stranger 72"] = d.manner(), hangs
		}
		if d.IntN(4) == 0 {
			h.m.opts.Watchdog = 10 * time.Second
		}
		h.start()
		for range 5 + d.IntN(30) {
			d.something()
		}
		if d.IntN(5) > 0 {
			d.heal()
		}
		d.end()
	})
}

func (d *dice) pick(list ...string) string { return list[d.IntN(len(list))] }

func (d *dice) span() time.Duration {
	return time.Duration(d.IntN(int(pickOne(d, time.Millisecond, 300*time.Millisecond, 3*time.Second, time.Minute))))
}

func pickOne[T any](d *dice, list ...T) T { return list[d.IntN(len(list))] }

func (d *dice) config() string {
	return fmt.Sprintf("workers = %d\n[ready]\nwhen = %q\ntimeout = %q\n[stop]\ndelay = %q\ntimeout = %q\nmax_draining = %d\n"+
		"[restart]\nmin_uptime = %q\nbackoff = %q\nmax_backoff = %q\n"+
		"[reload]\nmax_surge = %s\nmax_unavailable = %s\ncanary = %d\nbake = %q\ntolerate = %d\ntimeout = %q\n",
		d.IntN(6), d.pick("notify", "notify", "auto", "started"), d.pick("2s", "20s"), d.pick("0", "0", "500ms"), d.pick("1s", "10s"), pickOne(d, 0, 0, 1, 2),
		d.pick("0", "1s", "2s"), d.pick("10ms", "100ms"), d.pick("1s", "30s"),
		d.pick("1", "0", `"100%"`), d.pick("0", "0", "1", `"50%"`), d.IntN(3), d.pick("0", "3s"), pickOne(d, 0, 0, 1), d.pick("5s", "5min"))
}

// systemd's answer comes when it likes.
func (d *dice) systemd() func(ctx context.Context) (string, error) {
	answer, after := d.pick("stop", "restart", ""), pickOne(d, 0, time.Second, time.Hour)
	return func(ctx context.Context) (string, error) {
		select {
		case <-time.After(after):
			return answer, nil
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

func (d *dice) manner() manner {
	m := manner{ready: d.span(), drain: d.span(), tail: pickOne(d, 0, d.span()), stderr: []string{"a word"}}
	switch d.IntN(9) {
	case 0:
		m = broken
		m.tail = d.span()
	case 1:
		m.silent = true
	case 2:
		m.life, m.exit = 1+d.span(), pickOne(d, proc.Exit{}, proc.Exit{Code: 2}, proc.Exit{Signal: syscall.SIGBUS})
	case 3:
		m = absent
	case 4:
		m = manner{start: errors.New("no memory")}
	case 5:
		m.deaf = true
	}
	return m
}

func (d *dice) something() {
	h := d.harness
	if h.over {
		return
	}
	select {
	case h.err = <-h.result:
		h.over = true
		return
	default:
	}
	switch d.IntN(21) {
	case 0, 1, 2:
		d.deployed++
		how := good
		if d.IntN(2) == 0 {
			how = d.manner()
		}
		h.deploy(fmt.Sprint("r", d.deployed), how)
		if d.IntN(3) == 0 {
			h.write(d.config())
		}
		d.ask(func(m *Master) (control.Ticket, error) {
			return m.Reload(h.ctx, control.ReloadRequest{Now: d.IntN(3) == 0, NoWait: d.IntN(4) == 0})
		})
	case 3:
		d.ask(func(m *Master) (control.Ticket, error) { return m.Scale(h.ctx, control.ScaleRequest{N: d.IntN(7)}) })
	case 4:
		d.ask(func(m *Master) (control.Ticket, error) {
			return m.Scale(h.ctx, control.ScaleRequest{N: d.IntN(5) - 2, Relative: true})
		})
	case 5:
		d.ask(func(m *Master) (control.Ticket, error) { return m.Cancel(h.ctx) })
	case 6:
		h.signal(pickOne(d, syscall.SIGHUP, syscall.SIGUSR2, syscall.SIGTTIN, syscall.SIGTTOU, syscall.SIGWINCH, syscall.SIGUSR1))
	case 7, 8:
		if all := h.alive(0); len(all) > 0 {
			p := all[d.IntN(len(all))]
			select {
			case p.dies <- pickOne(d, proc.Exit{}, proc.Exit{Code: 1}, proc.Exit{Signal: syscall.SIGKILL}):
			default:
			}
		}
	case 9:
		if all := h.alive(0); len(all) > 0 {
			p := all[d.IntN(len(all))]
			p.say(p.pid, pickOne(d, "STOPPING=1", "STATUS=x\ny", "WATCHDOG=trigger", "WATCHDOG=1", "WATCHDOG_USEC=3000000", "EXTEND_TIMEOUT_USEC=5000000", "READY=1"))
		}
	case 10: // deployed in place: what served comes up no more, or does again
		how := d.manner()
		h.with(func() { h.manners[fmt.Sprint("r", d.IntN(d.deployed+1))], h.manners["v1"] = how, how })
	case 11:
		h.with(func() {
			h.prepare, h.deafPrep, h.refusal = pickOne(d, 0, d.span()), d.IntN(3) == 0, pickOne(d, nil, nil, errors.New("no"))
		})
	case 12:
		h.listen(pickOne(d, nil, []string{"a"}, []string{"a", "b"}, []string{"c"})...)
	case 13:
		_, _ = h.m.Status(h.ctx)
	case 14:
		if d.ending {
			return // the next one would know of no stop
		}
		h.kill9()
		if h.over {
			return
		}
		h.pass(pickOne(d, 0, d.span()))
		h.succeed(false)
		h.pass(0) // who waits for a verdict finds the new master
	case 15:
		h.with(func() { h.rehearsing, h.departs = pickOne(d, 0, d.span()), pickOne(d, 0, d.span()) })
		d.ask(func(m *Master) (control.Ticket, error) { return m.Upgrade(h.ctx) })
	case 16:
		h.sameAgain()
	case 17:
		d.ask(func(m *Master) (control.Ticket, error) { return m.Recycle(h.ctx, control.RecycleRequest{}) })
	default:
		h.pass(d.span())
	}
}

// ask follows a change, if it was not refused.
func (d *dice) ask(what func(*Master) (control.Ticket, error)) {
	r := d.now()
	if t, err := what(r.m); err == nil {
		d.follow(r, t, nil)
	}
}

// heal ends all trouble; then the pool has to come to rest.
func (d *dice) heal() {
	h := d.harness
	h.with(func() {
		clear(h.deploys)
		for release := range h.manners {
			h.manners[release] = good
		}
		h.prepare, h.deafPrep, h.refusal, h.rehearsing, h.departs = 0, false, nil, 0, 0
		h.release = "healed"
	})
	if _, err := h.m.Status(h.ctx); err != nil {
		return // its start had failed
	}
	h.pass(time.Hour)
	select {
	case h.err = <-h.result:
		h.over = true
		if exitOf(h.err) != control.ExitFailed {
			h.Errorf("Run: %v", h.err)
		}
		return
	default:
	}
	for _, a := range h.asked {
		select {
		case <-a.done:
		default:
			h.Fatalf("change %d has no verdict an hour after all trouble; %s", a.number, h.tale())
		}
	}
	n := d.IntN(5)
	h.write(repeat(n, "[restart]\nmin_uptime = \"1s\""))
	h.expect(h.reload(), control.OutcomeOK, 0)
	s := h.status()
	n = s.Wanted
	h.pass(time.Hour)
	h.state(control.StateRunning)
	h.serve(s.Generation, n)
	h.sizes(map[string]int{"generations": 1, "workers": n, "pool": 1, "leftovers": 0})
	if c := h.m.changes; c.running != nil || c.upgrade != nil || c.waiting != nil || c.scaling != nil || c.recycle != nil || c.cancels != nil {
		h.Errorf("changes under way: %+v", c)
	}
}

// end stops the pool, one way or another.
func (d *dice) end() {
	h := d.harness
	defer d.predecessors()
	if h.over {
		return
	}
	d.ending = true
	h.signal(pickOne(d, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT))
	for range d.IntN(3) {
		d.something()
	}
	_ = h.wait()
	if h.m.opts.Unit == "" && exitOf(h.err) == -1 {
		h.noFiles()
	}
}

// predecessors are left to the next master by one that never had a release.
func (d *dice) predecessors() {
	if d.m.current > 0 {
		return
	}
	for _, p := range d.alive(0) {
		if p.pid < 1000 {
			_ = p.KillGroup()
		}
	}
	d.pass(0)
}
