package cli_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"fugue/internal/loadtest"
)

// What workers write while masters are replaced, and while there is none,
// reaches the file whole and in order.
func TestRelayedLinesOutliveMasters(t *testing.T) {
	p := newPool(t)
	words := append(p.keeping(), "-log-every", "1ms")
	path := filepath.Join(p.dir, "log")
	run := func(says string, times int) {
		t.Helper()
		file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		p.run = p.fugue(words...)
		p.run.Stdout, p.run.Stderr = file, file
		p.run.SysProcAttr.Pdeathsig = syscall.SIGTERM
		if err := p.run.Start(); err != nil {
			t.Fatal(err)
		}
		p.logHas(path, says, times)
	}
	run("generation 1 serves", 1)
	before := p.status()
	kills, handovers := loadtest.Scale(50), loadtest.Scale(100)
	for i := range max(kills, handovers) {
		if i < handovers {
			if code, out, errs := ask(t, p.fugue("upgrade", "web")); code != 0 {
				t.Errorf("upgrade: exit %d\n%s%s", code, out, errs)
			}
		}
		if i < kills {
			if err := p.run.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = p.run.Wait()
			run("took over from a master that is gone", i+1)
		}
	}
	if now := p.status(); !slices.Equal(workersOf(now), workersOf(before)) {
		t.Errorf("the workers were %v and are %v", workersOf(before), workersOf(now))
	}
	if code, _, errs := ask(t, p.fugue("stop", "web")); code != 0 {
		t.Errorf("stop: exit %d\n%s", code, errs)
	}
	_ = p.run.Wait()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	counted(t, string(text), workersOf(before), regexp.MustCompile(`^web/\d \| (tick \d+ \d+)$`), kills)
}

// logHas waits until the file has a text so often; a file has no event for that.
func (p *pool) logHas(path, text string, times int) {
	p.t.Helper()
	for late := time.Now().Add(guard); time.Now().Before(late); {
		b, err := os.ReadFile(path)
		if err != nil {
			p.t.Fatal(err)
		}
		if strings.Count(string(b), text) >= times {
			return
		}
	}
	p.t.Fatalf("the log has no %q", text)
}

// counted checks that the lines of each process count from 1 without a gap. What
// a master had written when it was killed, and not taken out of the pipe, its
// successor writes once more: so often they may go back, and count on from there.
func counted(t *testing.T, text string, pids []int, whole *regexp.Regexp, kills int) {
	t.Helper()
	last, back := map[int]int{}, map[int]int{}
	wrong := 0
	for line := range strings.Lines(text) {
		if !strings.Contains(line, "tick") {
			continue
		}
		var pid, n int
		found := whole.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if found != nil {
			_, _ = fmt.Sscanf(found[1], "tick %d %d", &pid, &n)
		}
		switch {
		case n == last[pid]+1:
		case 0 < n && n <= last[pid] && back[pid] < kills:
			back[pid]++
		default:
			if wrong++; wrong < 10 {
				t.Errorf("behind line %d of %d comes %q", last[pid], pid, line)
			}
			n = max(n, last[pid])
		}
		last[pid] = n
	}
	for _, pid := range pids {
		if last[pid] < 100 {
			t.Errorf("process %d wrote %d lines", pid, last[pid])
		}
	}
	t.Logf("lines of each: %v, written again after a kill: %v, out of place: %d", last, back, wrong)
}
