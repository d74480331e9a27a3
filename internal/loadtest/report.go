package loadtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Counts says how many requests ended in each class. Sent is their sum.
type Counts struct {
	Sent, OK                                                    int
	Refused, Reset, EOF, TimedOut, BadStatus, Local, IdleClosed int
}

// Lost counts the requests that got no answer.
func (c Counts) Lost() int { return c.Refused + c.Reset + c.EOF + c.TimedOut }

func (c *Counts) add(class Class) {
	if class == IdleClosed {
		c.IdleClosed++
		return
	}
	c.Sent++
	switch class {
	case OK:
		c.OK++
	case Refused:
		c.Refused++
	case Reset:
		c.Reset++
	case EOF:
		c.EOF++
	case TimedOut:
		c.TimedOut++
	case BadStatus:
		c.BadStatus++
	default:
		c.Local++
	}
}

// Seen is one text that answers carried, with the start of the first and last
// request that got it.
type Seen struct {
	Text        string
	Count       int
	First, Last time.Time
}

// keptFailures is far more than anybody reads, and bounded.
const keptFailures = 5000

// Report is the account of a load, so far or in the end.
type Report struct {
	New      Counts // one connection each
	Kept     Counts // keep-alive clients
	Versions []Seen // by first sight
	PIDs     []Seen
	Failures []Result // the first keptFailures that were not OK
	// LongestGap is the longest time between the ends of two answers.
	LongestGap time.Duration

	lastAnswer time.Time
	took       []time.Duration
}

// Lost counts the requests that got no answer, of all clients.
func (r *Report) Lost() int { return r.New.Lost() + r.Kept.Lost() }

// Answered counts the good answers to all clients.
func (r *Report) Answered() int { return r.New.OK + r.Kept.OK }

// Saw tells about answers of this version.
func (r *Report) Saw(version string) (Seen, bool) {
	i := slices.IndexFunc(r.Versions, func(s Seen) bool { return s.Text == version })
	if i < 0 {
		return Seen{}, false
	}
	return r.Versions[i], true
}

// Latency is the time below which the share p of the answers stayed: 0.5 the
// median, 1 the slowest. Zero without answers.
func (r *Report) Latency(p float64) time.Duration {
	if len(r.took) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(r.took))
	return sorted[min(len(sorted)-1, int(p*float64(len(sorted))))]
}

// Check is the promise as an error: nil when there was a load and every request
// of it was answered well.
func (r *Report) Check() error {
	switch {
	case r.Answered() == 0 && r.Lost() == 0:
		return errors.New("the load asked nothing")
	case r.New.Local+r.Kept.Local > 0:
		return fmt.Errorf("the load generator itself failed: %v", r)
	case r.Lost() > 0, r.New.BadStatus+r.Kept.BadStatus > 0:
		return fmt.Errorf("requests were lost: %v", r)
	}
	return nil
}

// String is the account for people: counts, times, versions, first failures.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "new connections %v", r.New)
	if r.Kept.Sent > 0 {
		fmt.Fprintf(&b, "; kept alive %v", r.Kept)
	}
	fmt.Fprintf(&b, "; median %v, 99%% %v, max %v, longest gap %v",
		r.Latency(0.5).Round(time.Microsecond), r.Latency(0.99).Round(time.Microsecond),
		r.Latency(1).Round(time.Microsecond), r.LongestGap.Round(time.Microsecond))
	for _, v := range r.Versions {
		fmt.Fprintf(&b, "; %s ×%d (%s to %s)", v.Text, v.Count, v.First.Format("05.000"), v.Last.Format("05.000"))
	}
	for _, f := range r.Failures[:min(20, len(r.Failures))] {
		fmt.Fprintf(&b, "\n  %s %s after %v: %s", f.Start.Format("05.000"), f.Class, f.Took.Round(time.Microsecond), f.Err)
	}
	return b.String()
}

// String lists what is not zero.
func (c Counts) String() string {
	s := fmt.Sprintf("%d sent, %d ok", c.Sent, c.OK)
	for _, n := range []struct {
		count int
		class Class
	}{
		{c.Refused, Refused}, {c.Reset, Reset}, {c.EOF, EOF}, {c.TimedOut, TimedOut},
		{c.BadStatus, BadStatus}, {c.Local, Local}, {c.IdleClosed, IdleClosed},
	} {
		if n.count > 0 {
			s += fmt.Sprintf(", %d %s", n.count, n.class)
		}
	}
	return s
}

func (r *Report) add(res Result) {
	counts := &r.New
	if res.Kept {
		counts = &r.Kept
	}
	counts.add(res.Class)
	if res.Class == IdleClosed {
		return
	}
	if res.Class != OK {
		if len(r.Failures) < keptFailures {
			r.Failures = append(r.Failures, res)
		}
		return
	}
	r.took = append(r.took, res.Took)
	end := res.Start.Add(res.Took)
	if !r.lastAnswer.IsZero() && end.Sub(r.lastAnswer) > r.LongestGap {
		r.LongestGap = end.Sub(r.lastAnswer)
	}
	if end.After(r.lastAnswer) {
		r.lastAnswer = end
	}
	r.Versions = see(r.Versions, res.Version, res.Start)
	r.PIDs = see(r.PIDs, res.PID, res.Start)
}

func see(list []Seen, text string, at time.Time) []Seen {
	i := slices.IndexFunc(list, func(s Seen) bool { return s.Text == text })
	if i < 0 {
		return append(list, Seen{Text: text, Count: 1, First: at, Last: at})
	}
	list[i].Count++
	if at.Before(list[i].First) {
		list[i].First = at
	}
	if at.After(list[i].Last) {
		list[i].Last = at
	}
	return list
}

// Load is a load under way.
type Load struct {
	stop  context.CancelFunc
	ask   chan func(*Report) bool // a question to the collector, kept until it says true
	done  chan struct{}
	final Report // valid after done
}

// collect owns the report: one goroutine, told results and asked questions.
func collect(results <-chan Result, stop context.CancelFunc) *Load {
	l := &Load{stop: stop, ask: make(chan func(*Report) bool), done: make(chan struct{})}
	go func() {
		defer close(l.done)
		var waiting []func(*Report) bool
		for {
			select {
			case res, more := <-results:
				if !more {
					stop()
					return
				}
				l.final.add(res)
				waiting = slices.DeleteFunc(waiting, func(f func(*Report) bool) bool { return f(&l.final) })
			case f := <-l.ask:
				if !f(&l.final) {
					waiting = append(waiting, f)
				}
			}
		}
	}()
	return l
}

// Stop sends no more requests, waits for those under way, each of which counts,
// and returns the account. It can be called again.
func (l *Load) Stop() *Report {
	l.stop()
	<-l.done
	return &l.final
}

// Await returns when the account satisfies enough, which is asked after every
// request. The report must not be kept or changed by it.
func (l *Load) Await(ctx context.Context, enough func(*Report) bool) error {
	found := make(chan struct{})
	question := func(r *Report) bool {
		if ctx.Err() != nil {
			return true
		}
		if !enough(r) {
			return false
		}
		close(found)
		return true
	}
	select {
	case l.ask <- question:
	case <-l.done:
		return errors.New("the load has ended")
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-found:
		return nil
	case <-l.done:
		select {
		case <-found:
			return nil
		default:
			return errors.New("the load ended before that was seen")
		}
	case <-ctx.Done():
		return ctx.Err()
	}
}
