package e2e_test

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"fugue/e2e"
)

// await asks until it is so: for what is promised in the end, and not by the time
// that something else has returned.
func (p *pool) await(what string, so func() bool) {
	p.t.Helper()
	for late := time.Now().Add(time.Minute); !so(); <-time.After(20 * time.Millisecond) {
		if time.Now().After(late) {
			p.t.Fatalf("waited for %s, in vain", what)
		}
	}
}

// four are the pool's workers when there are as many as it is to have. Old ones
// may still be on their way out when a reload or a restart has returned.
func (p *pool) four() (list []e2e.Process) {
	p.t.Helper()
	late := time.Now().Add(time.Minute)
	for list = p.workers(); len(list) != 4; list = p.workers() {
		if time.Now().After(late) {
			p.t.Fatalf("there stay %d workers: %+v", len(list), list)
		}
	}
	return list
}

// says waits until what the journal has of the unit, for these arguments, has all
// the parts. Who waits for a verdict may have it a moment before the master's own
// log, which nobody waits for.
func (p *pool) says(args, parts []string) {
	p.t.Helper()
	text := ""
	for late := time.Now().Add(time.Minute); time.Now().Before(late); {
		text = p.Journal(append([]string{"-u", "web"}, args...)...)
		if !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(text, part) }) {
			return
		}
	}
	p.want("journal", text, parts...)
}

// atLeast is for a number that is counted up and may be looked at late.
func atLeast(n int) func(string) bool {
	return func(text string) bool {
		now, err := strconv.Atoi(text)
		return err == nil && now >= n
	}
}
