package e2e_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"fugue/e2e"
	"fugue/internal/loadtest"
)

// effects are what fugue events says when a master acts on a signal.
var effects = map[unix.Signal]*regexp.Regexp{
	unix.SIGHUP:  regexp.MustCompile(`reload \d+ done: generation \d+ serves`),
	unix.SIGUSR1: regexp.MustCompile(`reopened: there are no log files`),
	unix.SIGTTIN: regexp.MustCompile(`scaling: 2 to 3 workers|scaling: 1 to 2 workers`),
	unix.SIGTTOU: regexp.MustCompile(`scaling: 3 to 2 workers|scaling: 2 to 1 worker`),
}

// storm sends signals to a master, of each kind the next when the effect of the
// one before has been seen.
type storm struct {
	*pool
	master e2e.Process
	seen   map[unix.Signal]chan struct{}
	sent   map[unix.Signal]*atomic.Int64
	over   chan struct{}
	lost   chan string
}

func (p *pool) storm(ctx context.Context) *storm {
	p.t.Helper()
	s := &storm{pool: p, master: p.MainPID("web"), seen: map[unix.Signal]chan struct{}{}, sent: map[unix.Signal]*atomic.Int64{},
		over: make(chan struct{}), lost: make(chan string, 8)}
	events := p.Command(ctx, ctl, "events", "web") // one command for all masters
	out, err := events.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := events.Start(); err != nil {
		p.t.Fatal(err)
	}
	for sig := range effects {
		s.seen[sig], s.sent[sig] = make(chan struct{}, 1000), &atomic.Int64{}
	}
	follows := make(chan struct{}, 1)
	go func() {
		defer func() { _ = events.Wait() }() // killed when ctx ends
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if strings.Contains(lines.Text(), "scaling: 2 to 2 workers") {
				select {
				case follows <- struct{}{}:
				default:
				}
			}
			if strings.Contains(lines.Text(), "  lost: ") {
				s.lost <- lines.Text()
			}
			for sig, effect := range effects {
				if effect.MatchString(lines.Text()) {
					s.seen[sig] <- struct{}{}
				}
			}
		}
	}()
	// The command does not say that it follows: it does when it shows what
	// happens now. What is none of the effects is asked for, as often as may be.
	for {
		p.Do(ctl, "scale", "web", "2")
		select {
		case <-follows:
			return s
		case <-time.After(time.Second):
		}
	}
}

// keepSending sends the signals together until the storm is over.
func (s *storm) keepSending(sigs ...unix.Signal) {
	for {
		select {
		case <-s.over:
			s.lost <- ""
			return
		default:
		}
		for _, sig := range sigs {
			if err := unix.Kill(s.master.Outside, sig); err != nil {
				s.lost <- fmt.Sprintf("send %v: %v", sig, err)
				return
			}
			s.sent[sig].Add(1)
		}
		for _, sig := range sigs {
			select {
			case <-s.seen[sig]:
			case <-time.After(time.Minute):
				s.lost <- fmt.Sprintf("%v number %d has no effect", sig, s.sent[sig].Load())
				return
			}
		}
	}
}

// rest is how often an effect was seen that no signal asked for.
func (s *storm) rest() (n int) {
	for _, seen := range s.seen {
		n += len(seen)
	}
	return n
}

// Signals come at every instant of handovers: none is lost, none comes twice,
// none is deadly.
func TestSignalsOverHandovers(t *testing.T) {
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		p := newPool(t, sb, selfBound+"[restart]\nmin_uptime = \"0\"\n") // a reload takes as little as it can
		sb.Install(e2e.Fugue(t), ctl)
		sb.Do("systemctl", "start", "web")
		p.Do(ctl, "scale", "web", "2")
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		s := p.storm(ctx)
		go s.keepSending(unix.SIGHUP)
		go s.keepSending(unix.SIGUSR1)
		go s.keepSending(unix.SIGTTIN, unix.SIGTTOU) // together, so that the number stays
		n := loadtest.Scale(300)
		for range n {
			if r := sb.Exec(ctl, "upgrade", "web"); r.Code != 0 {
				t.Fatalf("%v\n%s", r, sb.Journal("-u", "web", "-n", "50"))
			}
		}
		close(s.over)
		for ended := 0; ended < 3; {
			lost := <-s.lost
			if !strings.Contains(lost, "  lost: ") {
				ended++
			}
			if lost != "" {
				t.Error(lost)
			}
		}
		t.Logf("%d handovers; HUP %d, USR1 %d, TTIN %d, TTOU %d", n, s.sent[unix.SIGHUP].Load(), s.sent[unix.SIGUSR1].Load(),
			s.sent[unix.SIGTTIN].Load(), s.sent[unix.SIGTTOU].Load())
		if rest := s.rest(); rest != 0 {
			t.Errorf("%d effects that nobody asked for", rest)
		}
		if now := sb.MainPID("web"); now.Outside != s.master.Outside {
			t.Errorf("the master was %+v and is %+v", s.master, now)
		}
		if now := p.status(); now.Wanted != 2 || now.State != "running" {
			t.Errorf("in the end %+v", now)
		}
	})
}

// A stop that comes at any instant of a handover stops the pool properly.
func TestAStopDuringAHandover(t *testing.T) {
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		p := handoverPool(t, sb)
		for round := range loadtest.Scale(60) {
			sb.Do("systemctl", "start", "web")
			upgrade := p.ask("upgrade", "web")
			instant := time.Duration(rand.IntN(500)) * time.Millisecond
			<-time.After(instant)
			sb.Do("systemctl", "stop", "web")
			r := <-upgrade
			t.Logf("stopped after %v; the upgrade: exit %d", instant, r.Code)
			// systemd forgets the end of a unit that is down; its words stay.
			words := sb.Journal("-u", "web")
			if n := strings.Count(words, "web.service: Deactivated successfully"); n != round+1 || strings.Contains(words, "Main process exited") {
				t.Errorf("%d of %d ends were good:\n%s", n, round+1, words)
			}
			if left := sb.Processes("web"); len(left) != 0 {
				t.Errorf("left after the stop: %+v", left)
			}
			if _, err := sb.Dial("tcp", "127.0.0.1:8080"); err == nil {
				t.Error("a stopped pool still connects")
			}
		}
	})
}
