package storm_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"fugue/e2e"
	"fugue/internal/control"
	"fugue/internal/loadtest"
)

// calm waits for all that goes on, brings the pool to a new version and its
// first size, and fails the test unless it is whole and nothing else is there.
func (s *storm) calm() {
	s.t.Helper()
	begun := s.log.begin("calm", "", whatever)
	s.beside.Wait()
	s.victims.goOn()
	wrong, _ := s.log.wrong(s.last)
	for _, step := range wrong {
		s.t.Errorf("a step that nothing disturbed came out wrong: %s", step)
	}
	s.WaitState("web", "running")
	if status := s.status(); !s.wanted[status.Wanted] {
		s.t.Errorf("%d workers are wanted, which nobody asked for: %v", status.Wanted, s.wanted)
	}
	version := s.nextVersion()
	s.must(ctl, "reload", "web")
	s.must(ctl, "scale", "web", strconv.Itoa(workers))
	s.wanted = map[int]bool{workers: true}
	for _, load := range s.loads {
		load.AwaitVersion(version)
	}
	s.onlyTheWanted()
	s.sameDescriptors()
	s.lost(s.last)
	s.last = begun.begin
	begun.ended(0, version)
}

func (s *storm) must(command ...string) {
	s.t.Helper()
	if r := s.Exec(command...); r.Code != 0 {
		s.t.Errorf("it was calm, and yet: %v", r)
	}
}

func (s *storm) status() (status control.Status) {
	s.t.Helper()
	r := s.Exec(ctl, "status", "-o", "json", "web")
	if err := json.Unmarshal([]byte(r.Out), &status); err != nil {
		s.t.Fatalf("read the status: %v\n%v", err, r)
	}
	return status
}

// onlyTheWanted waits for those to end that are to end, and fails the test
// unless the unit is the master and its workers of one generation.
func (s *storm) onlyTheWanted() {
	s.t.Helper()
	status := s.status()
	ours := map[int]bool{status.PID: true}
	for _, w := range status.Workers {
		if w.Generation == status.Generation && w.PID > 0 && w.State != control.WorkerStopping {
			ours[w.PID] = true
		}
	}
	for _, p := range s.Processes("web") {
		if !ours[p.PID] {
			s.WaitGone(p)
		}
	}
	// Whose process has ended is in the status until the master has seen that.
	var processes []e2e.Process
	for deadline := time.Now().Add(time.Minute); ; {
		status, processes = s.status(), s.Processes("web")
		if status.State == control.StateRunning && status.Ready == workers && len(status.Workers) == workers && len(processes) == workers+1 {
			break
		}
		if time.Now().After(deadline) {
			s.t.Errorf("calm is another thing: %+v\n%+v", status, processes)
			break
		}
	}
	for _, w := range status.Workers {
		if w.Generation != status.Generation {
			s.t.Errorf("worker %+v is not of generation %d", w, status.Generation)
		}
	}
	if files := s.Exec("sh", "-c", "ls /run/fugue-caretaker.* 2>/dev/null").Out; files != "" {
		s.t.Errorf("a caretaker is left: %s", files)
	}
}

var inode = regexp.MustCompile(`\[\d+\]`)

// sameDescriptors holds the master to what it had at first. Each look is a
// request to it, so that it gets its turn to close what is to be closed.
func (s *storm) sameDescriptors() {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; s.status() {
		now := s.descriptors()
		now["kept by systemd"] = s.ShowInt("web", "NFileDescriptorStore")
		if s.fds == nil {
			s.fds = now
		}
		var more []string
		for kind, n := range now {
			if n > s.fds[kind] {
				more = append(more, fmt.Sprintf("%d×%s, at first %d", n, kind, s.fds[kind]))
			}
		}
		if len(more) == 0 {
			return
		}
		if time.Now().After(deadline) {
			s.t.Errorf("the master has more descriptors: %s", strings.Join(more, "; "))
			return
		}
	}
}

func (s *storm) descriptors() map[string]int {
	s.t.Helper()
	kinds := make(map[string]int)
	links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", s.MainPID("web").Outside))
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil {
			kinds[inode.ReplaceAllString(target, "")]++
		}
	}
	return kinds
}

// lost reports the requests that ended badly since a time and were in no
// victim, each with what was done around it and what the journal says.
func (s *storm) lost(since time.Time) {
	s.t.Helper()
	var failures []loadtest.Result
	for _, load := range s.loads {
		found := make(chan []loadtest.Result, 1)
		s.ask(load, func(r *loadtest.Report) { found <- append([]loadtest.Result(nil), r.Failures...) })
		failures = append(failures, <-found...)
	}
	told := 0
	for _, f := range failures {
		end := f.Start.Add(f.Took)
		if _, ok := s.victims.of(f); ok || end.Before(since) {
			continue
		}
		if told++; told > 5 {
			continue // the first ones say it
		}
		from, to := f.Start.Add(-3*time.Second), end.Add(time.Second)
		s.t.Errorf("lost at %s, %s after %v from %s (kept %v): %s\n%s\n%s", f.Start.Format(clock), f.Class, f.Took, f.Local, f.Kept, f.Err,
			strings.Join(s.log.during(from, to), "\n"), s.between(from, to))
	}
	if told > 5 {
		s.t.Errorf("%d requests were lost", told)
	}
}

// ask lets f see the account so far.
func (s *storm) ask(load *e2e.Load, f func(*loadtest.Report)) {
	s.t.Helper()
	err := load.Await(s.t.Context(), func(r *loadtest.Report) bool {
		f(r)
		return true
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// between is the journal of that time.
func (s *storm) between(from, to time.Time) string {
	var list []string
	for _, e := range s.JournalEntries() {
		micros, _ := strconv.ParseInt(e["__REALTIME_TIMESTAMP"], 10, 64)
		if at := time.UnixMicro(micros); at.After(from) && at.Before(to) {
			list = append(list, at.Format(clock)+" "+e["SYSLOG_IDENTIFIER"]+"["+e["_PID"]+"] "+e["MESSAGE"])
		}
	}
	return strings.Join(list, "\n")
}

// account ends the loads and tells what came of them.
func (s *storm) account() {
	s.t.Helper()
	s.t.Log(s.log.counts())
	_, explained := s.log.wrong(time.Time{})
	s.t.Logf("not as alone, for what was done beside them:\n%s", strings.Join(explained, "\n"))
	victims := 0
	for _, load := range s.loads {
		r := load.Stop()
		s.t.Log(r)
		bad := r.New.BadStatus + r.Kept.BadStatus + r.New.Local + r.Kept.Local
		if r.Lost()+bad != len(r.Failures) {
			s.t.Errorf("%d requests failed, %d are known", r.Lost()+bad, len(r.Failures))
		}
		for _, f := range r.Failures {
			v, ok := s.victims.of(f)
			if !ok {
				s.t.Errorf("lost: %+v", f)
				continue
			}
			victims++
			s.t.Logf("in worker %d, which the walk ended: %s %s after %v", v.process.PID, f.Start.Format(clock), f.Class, f.Took.Round(time.Millisecond))
		}
		for _, version := range []string{"broken-exits", "broken-hangs"} {
			if seen, ok := r.Saw(version); ok {
				s.t.Errorf("answers of a release that was never ready: %+v", seen)
			}
		}
	}
	s.t.Logf("%d requests were in %d workers that the walk ended", victims, len(s.victims))
}
