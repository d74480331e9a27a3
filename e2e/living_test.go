package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"

	"fugue/e2e"
	"fugue/internal/control"
)

// living is a worker as the kernel knows it: no master's word is needed.
type living struct {
	e2e.Process
	slot, generation int
	version          string
}

func (l living) String() string {
	return fmt.Sprintf("pid %d in slot %d of generation %d (%s)", l.PID, l.slot, l.generation, l.version)
}

// lookAt reads what a process is; one that has gone, or has not come to its
// command yet, is no living worker.
func lookAt(p e2e.Process) (living, bool) {
	read := func(name string) []string {
		b, _ := os.ReadFile("/proc/" + strconv.Itoa(p.Outside) + "/" + name)
		return strings.Split(string(b), "\x00")
	}
	l := living{Process: p}
	for _, variable := range read("environ") {
		name, value, _ := strings.Cut(variable, "=")
		switch name {
		case "FUGUE_WORKER":
			l.slot, _ = strconv.Atoi(value)
		case "FUGUE_GENERATION":
			l.generation, _ = strconv.Atoi(value)
		}
	}
	words := read("cmdline")
	for i, w := range words {
		if w == "-version" {
			l.version = words[i+1]
		}
	}
	return l, l.slot > 0 && words[0] == "/usr/bin/testworker"
}

// oneASlot fails the test if two workers that live at the same instant have one
// slot, those that are told to stop not excepted.
func (p *pool) oneASlot() (list []living) {
	p.t.Helper()
	taken := map[int]living{}
	for _, process := range p.Processes("web") {
		now, ok := lookAt(process)
		if !ok {
			continue
		}
		list = append(list, now)
		if before, double := taken[now.slot]; double {
			// It was seen a moment ago, and may have gone before the other came.
			if _, still := lookAt(before.Process); still {
				p.t.Errorf("two workers in one slot: %v and %v", before, now)
			}
		}
		taken[now.slot] = now
	}
	return list
}

// settled returns when the pool is at rest with all of its workers, and what
// it says then; state is what it must be in ("running", "degraded").
func (p *pool) settled(state string) control.Status {
	p.t.Helper()
	p.WaitShowAs("web", "StatusText", func(now string) bool {
		return strings.HasPrefix(now, state+": 4 of 4 workers ready") && !strings.Contains(now, "to generation")
	})
	p.WaitShowAs("web", "SubState", func(now string) bool { return now == "running" })
	return p.told()
}

// told is what the master says.
func (p *pool) told() (s control.Status) {
	p.t.Helper()
	r := p.Exec("fugue", "status", "-o", "json", "web") // its exit code tells the state as well
	if err := json.Unmarshal([]byte(r.Out), &s); err != nil {
		p.t.Fatalf("read the status: %v: %v", err, r)
	}
	return s
}

// serveAs fails the test unless exactly these are the workers: four, ready, all
// of this generation and version, and the kernel knows them as the master does.
func (p *pool) serveAs(s control.Status, generation int, version string) {
	p.t.Helper()
	known := map[int]bool{}
	ready := 0
	for _, w := range s.Workers {
		known[w.PID] = true
		if w.State == "stopping" {
			continue
		}
		ready++
		if w.Generation != generation {
			p.t.Errorf("worker %+v, want generation %d", w, generation)
		}
	}
	if s.Generation != generation || ready != 4 {
		p.t.Errorf("generation %d with %d workers, want generation %d with 4: %+v", s.Generation, ready, generation, s.Workers)
	}
	for _, l := range p.oneASlot() {
		if !known[l.PID] {
			p.t.Errorf("the master does not know of %v", l)
		} else if l.generation == generation && l.version != version {
			p.t.Errorf("%v, want version %s", l, version)
		}
	}
}
