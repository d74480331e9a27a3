package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"fugue/e2e"
	"fugue/internal/loadtest"
)

// holdings are what a master has of what could leak.
type holdings struct {
	fds, children []string
	rss           int // KiB
}

func holdingsOf(t *testing.T, pid int) (h holdings) {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d", pid)
	links, err := filepath.Glob(dir + "/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil {
			h.fds = append(h.fds, target)
		}
	}
	tasks, err := filepath.Glob(dir + "/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		list, err := os.ReadFile(task)
		if err != nil {
			continue // a thread that has ended
		}
		for _, child := range strings.Fields(string(list)) {
			comm, _ := os.ReadFile("/proc/" + child + "/comm") // a zombie has one too
			h.children = append(h.children, child+" "+strings.TrimSpace(string(comm)))
		}
	}
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if kib, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			h.rss, _ = strconv.Atoi(strings.Fields(kib)[0])
		}
	}
	slices.Sort(h.children)
	return h
}

// A hundred images leave no more behind than the first: no descriptor, no
// process that was collected by nobody, no memory. The state, with all changes
// in it, does not grow either.
func TestHandoversLeakNothing(t *testing.T) {
	refuses := script(t, "#!/bin/sh\necho no >&2\n(sleep 1000 &)\nexit 78\n")
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		p := handoverPool(t, sb)
		pid := sb.MainPID("web").Outside
		p.upgrade(0)
		// What a request to the master holds is gone with its answer, but not
		// in the same instant; nor are the pages of its program that only a
		// handover needs.
		first := holdingsOf(t, pid)
		for range 1000 {
			if h := holdingsOf(t, pid); len(h.children) == 4 && len(h.fds) <= len(first.fds) {
				first = h
			}
		}
		for i := range loadtest.Scale(100) {
			if i%5 == 0 {
				sb.Install(refuses, "/usr/bin/fugue")
				p.upgrade(5, "exit status 78: no")
				sb.Install(e2e.Fugue(t), "/usr/bin/fugue")
			}
			p.upgrade(0)
		}
		var last holdings
		for late := time.Now().Add(time.Minute); time.Now().Before(late); <-time.After(10 * time.Millisecond) {
			if last = holdingsOf(t, pid); len(last.fds) <= len(first.fds) && len(last.children) == 4 && last.rss <= first.rss*3/2 {
				break
			}
		}
		t.Logf("first %d descriptors, %d KiB; last %d, %d KiB", len(first.fds), first.rss, len(last.fds), last.rss)
		if len(last.fds) > len(first.fds) {
			t.Errorf("descriptors were %q and are %q", first.fds, last.fds)
		}
		if !slices.Equal(last.children, first.children) || len(last.children) != 4 {
			t.Errorf("children were %q and are %q", first.children, last.children)
		}
		if last.rss > first.rss*3/2 {
			t.Errorf("%d KiB are resident, %d after the first handover", last.rss, first.rss)
		}
		if n := len(sb.Processes("web")); n != 5 {
			t.Errorf("%+v", sb.Processes("web"))
		}
	})
}
