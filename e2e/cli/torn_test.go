package cli_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"fugue/internal/control"
	"fugue/internal/loadtest"
)

// A master of a thousand workers is killed again and again while it writes down
// what becomes of them, thousands of times a second as far as it can. What is
// there is always whole: the next one takes over all who live, and starts none
// beside them.
func TestAStateIsNeverTorn(t *testing.T) {
	const many = 1000
	mark := fmt.Sprintf("1000.%d", os.Getpid()) // tells these from all other processes
	p := newPool(t)
	words := []string{"run", "--name", "web", "--orphans", "keep", "-n", strconv.Itoa(many), "-l", p.dir + "/web.sock",
		"--ready.when", "started", "--restart.min_uptime", "0", "/bin/sleep", mark}
	t.Cleanup(func() {
		for _, pid := range marked(mark) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	p.begin(words...)
	p.unread()
	whole := func() control.Status {
		t.Helper()
		var s control.Status
		for late := time.Now().Add(guard); time.Now().Before(late); {
			if s = p.status(); s.Ready == s.Wanted && len(s.Workers) == s.Wanted {
				return s
			}
		}
		t.Fatalf("%d of %d are ready, %d known: %s", s.Ready, s.Wanted, len(s.Workers), s.Reason)
		return s
	}
	now := whole()
	for round := range loadtest.Scale(200) {
		stop := make(chan struct{})
		churned := make(chan struct{})
		go func() {
			defer close(churned)
			for {
				select {
				case <-stop:
					return
				default:
				}
				_ = p.run.Process.Signal(syscall.SIGTTIN)
				_ = p.run.Process.Signal(syscall.SIGTTOU)
				_ = syscall.Kill(now.Workers[rand.IntN(len(now.Workers))].PID, syscall.SIGKILL)
				<-time.After(time.Millisecond)
			}
		}()
		<-time.After(50*time.Millisecond + time.Duration(rand.IntN(200))*time.Millisecond)
		_ = p.run.Process.Kill()
		close(stop)
		<-churned
		_ = p.run.Wait()
		_ = p.out.Close()
		alive := settled(mark)
		p.again("took over from a master that is gone", words...)
		p.unread()
		// Those who were killed together with their master may still be there
		// when the next one looks, and are replaced when their end is seen.
		var unknown, gone []int
		for late := time.Now().Add(guard); time.Now().Before(late); {
			now = whole()
			var known []int
			for _, w := range now.Workers {
				known = append(known, w.PID)
			}
			living := marked(mark)
			if unknown, gone = without(living, known), without(known, living); len(unknown)+len(gone) == 0 {
				break
			}
		}
		if len(unknown)+len(gone) > 0 {
			t.Errorf("round %d: %v live and are not known, %v are known and do not live", round, unknown, gone)
		}
		kept := 0
		for _, w := range now.Workers {
			if slices.Contains(alive, w.PID) {
				kept++
			}
		}
		if kept < len(alive)-2 { // a scale down may have chosen some
			t.Errorf("round %d: %d lived, and %d of them serve", round, len(alive), kept)
		}
		t.Logf("round %d: %d lived, %d were kept, %d are wanted", round, len(alive), kept, now.Wanted)
	}
	if code, _, errs := ask(t, p.fugue("stop", "web")); code != 0 {
		t.Errorf("stop: exit %d\n%s", code, errs)
	}
	if left := marked(mark); len(left) > 0 {
		t.Errorf("%d processes are left", len(left))
	}
}

// unread lets nobody wait for a reader of the log.
func (p *pool) unread() {
	log := p.log
	go func() { _, _ = io.Copy(io.Discard, log) }() // to its end
}

func without(a, b []int) (only []int) {
	for _, x := range a {
		if !slices.Contains(b, x) {
			only = append(only, x)
		}
	}
	return only
}

// settled is marked once nobody has a signal before him any more: who was killed
// lives for as long as others have the CPU.
func settled(mark string) (pids []int) {
	for {
		pids = marked(mark)
		if !slices.ContainsFunc(pids, signalled) {
			return pids
		}
	}
}

// signalled tells whether a signal waits for a process, or for its only thread.
func signalled(pid int) bool {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)) // gone: not any more
	for line := range strings.Lines(string(text)) {
		name, set, _ := strings.Cut(line, ":")
		if (name == "SigPnd" || name == "ShdPnd") && strings.Trim(set, "\t\n0") != "" {
			return true
		}
	}
	return false
}

// marked are the living processes whose last word is mark and that are no fugue.
func marked(mark string) (pids []int) {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range lines {
		b, err := os.ReadFile(path)
		if err != nil || !strings.HasPrefix(string(b), "/bin/sleep\x00"+mark) {
			continue
		}
		pid, _ := strconv.Atoi(strings.Split(path, "/")[2])
		pids = append(pids, pid)
	}
	slices.Sort(pids)
	return pids
}
