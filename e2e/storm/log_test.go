package storm_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// outcome is what a step must come to if nothing comes in between.
type outcome int

const (
	whatever outcome = iota
	succeeds
	fails
)

// journal is what the walk has done.
type journal struct {
	mu    sync.Mutex
	steps []*taken
}

// taken is one step. It belongs to the journal's mutex.
type taken struct {
	journal    *journal
	kind, what string
	want       outcome
	begin, end time.Time
	code       int
	said       string
}

func (j *journal) begin(kind, what string, want outcome) *taken {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := &taken{journal: j, kind: kind, what: what, want: want, begin: time.Now()}
	j.steps = append(j.steps, s)
	return s
}

func (s *taken) ended(code int, said string) {
	s.journal.mu.Lock()
	defer s.journal.mu.Unlock()
	s.end, s.code, s.said = time.Now(), code, said
}

const clock = "15:04:05.000"

func (s *taken) String() string {
	end := "…"
	if !s.end.IsZero() {
		end = s.end.Format("05.000")
	}
	text := fmt.Sprintf("%s to %s %s %s: %d", s.begin.Format(clock), end, s.kind, s.what, s.code)
	if s.said != "" {
		text += " " + strings.ReplaceAll(s.said, "\n", " | ")
	}
	return text
}

// overlaps reports whether the step was under way at some instant of from to to.
func (s *taken) overlaps(from, to time.Time) bool {
	return !s.begin.After(to) && (s.end.IsZero() || !s.end.Before(from))
}

// during lists the steps around a time.
func (j *journal) during(from, to time.Time) (list []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, s := range j.steps {
		if s.overlaps(from, to) {
			list = append(list, s.String())
		}
	}
	return list
}

// harmless are steps beside which every other comes to its own end.
var harmless = []string{"scale", "daemon-reload"}

// wrong lists the steps since a time that came to another end than they must,
// though they were alone; and those that were not alone, which explains it.
func (j *journal) wrong(since time.Time) (wrong, explained []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, s := range j.steps {
		if s.begin.Before(since) || s.want == whatever || (s.want == succeeds) == (s.code == 0) {
			continue
		}
		disturbed := slices.ContainsFunc(j.steps, func(o *taken) bool {
			// A second before: what was killed then may not be over.
			return o != s && o.overlaps(s.begin.Add(-time.Second), s.end) && !slices.Contains(harmless, o.kind)
		})
		if disturbed {
			explained = append(explained, s.String())
		} else {
			wrong = append(wrong, s.String())
		}
	}
	return wrong, explained
}

// counts says how often each was done, and how it ended.
func (j *journal) counts() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	type end struct {
		kind string
		code int
	}
	n := make(map[end]int)
	var ends []end
	for _, s := range j.steps {
		e := end{s.kind, s.code}
		if n[e]++; n[e] == 1 {
			ends = append(ends, e)
		}
	}
	slices.SortFunc(ends, func(a, b end) int {
		if c := strings.Compare(a.kind, b.kind); c != 0 {
			return c
		}
		return a.code - b.code
	})
	var list []string
	for _, e := range ends {
		text := fmt.Sprintf("%d× %s", n[e], e.kind)
		if e.code != 0 {
			text += fmt.Sprintf(" (exit %d)", e.code)
		}
		list = append(list, text)
	}
	return fmt.Sprintf("%d steps: %s", len(j.steps), strings.Join(list, ", "))
}
