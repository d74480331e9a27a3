package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A Process is looked at through proc(5), by its number.
type Process int

func (p Process) path(name string) string { return fmt.Sprintf("/proc/%d/%s", int(p), name) }

// FDs are the open descriptors, each as what it is, sorted by number.
func (p Process) FDs(t testing.TB) []string {
	t.Helper()
	links, err := filepath.Glob(p.path("fd/*"))
	if err != nil || len(links) == 0 {
		t.Fatalf("process %d shows no descriptors: %v", int(p), err)
	}
	var all []string
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil { // closed meanwhile
			all = append(all, target)
		}
	}
	return all
}

// Children are the living and the dead: PID and state.
func (p Process) Children(t testing.TB) (running, zombies int) {
	t.Helper()
	lists, err := filepath.Glob(p.path("task/*/children"))
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range lists {
		b, _ := os.ReadFile(list) // the thread may have ended
		for _, pid := range strings.Fields(string(b)) {
			stat, _ := os.ReadFile("/proc/" + pid + "/stat")
			_, rest, _ := strings.Cut(string(stat), ") ")
			switch {
			case strings.HasPrefix(rest, "Z"):
				zombies++
			case rest != "":
				running++
			}
		}
	}
	return running, zombies
}

// field is a number out of a file of "Name: 12 kB" lines, summed over the lines
// whose name begins so.
func field(t testing.TB, path, name string) (sum int) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if words := strings.Fields(line); len(words) > 1 && strings.HasPrefix(words[0], name) {
			n, err := strconv.Atoi(words[1])
			if err != nil {
				t.Fatalf("%s: %q", path, line)
			}
			sum += n
		}
	}
	return sum
}

// Threads is their number.
func (p Process) Threads(t testing.TB) int { return field(t, p.path("status"), "Threads:") }

// RSS is the resident memory in KiB.
func (p Process) RSS(t testing.TB) int { return field(t, p.path("status"), "VmRSS:") }

// USS is the memory in KiB that only this process holds.
func (p Process) USS(t testing.TB) int { return field(t, p.path("smaps_rollup"), "Private_") }

// Wakeups counts how often any of its threads went to sleep by itself.
func (p Process) Wakeups(t testing.TB) (sum int) {
	t.Helper()
	threads, err := filepath.Glob(p.path("task/*/status"))
	if err != nil {
		t.Fatal(err)
	}
	for _, status := range threads {
		sum += field(t, status, "voluntary_ctxt_switches:")
	}
	return sum
}

// CPU is the time used so far, in the clock ticks of 10 ms that proc(5) has.
func (p Process) CPU(t testing.TB) time.Duration {
	t.Helper()
	b, err := os.ReadFile(p.path("stat"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	words := strings.Fields(rest)
	user, err1 := strconv.Atoi(words[11])
	system, err2 := strconv.Atoi(words[12])
	if err1 != nil || err2 != nil {
		t.Fatalf("%s: %q", p.path("stat"), b)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}
