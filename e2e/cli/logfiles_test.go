package cli_test

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"fugue/internal/control"
	"fugue/internal/loadtest"
)

// watcher is one fugue events over the lives of several masters.
type watcher struct {
	t      *testing.T
	lines  chan []byte
	last   int
	losses int
}

func (p *pool) watch() *watcher {
	p.t.Helper()
	cmd := p.fugue("events", "web", "-o", "json")
	out, err := cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	w := &watcher{t: p.t, lines: make(chan []byte, 1000)}
	go func() {
		defer close(w.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			w.lines <- slices.Clone(s.Bytes())
		}
	}()
	// The command does not say that it follows: it does when it shows what
	// happens now.
	for {
		if err := p.run.Process.Signal(syscall.SIGUSR1); err != nil {
			p.t.Fatal(err)
		}
		select {
		case line := <-w.lines:
			w.take(line)
			return w
		case <-time.After(time.Second):
		}
	}
}

// take looks that no event is missing or comes twice.
func (w *watcher) take(line []byte) (e control.Event) {
	w.t.Helper()
	if err := json.Unmarshal(line, &e); err != nil {
		w.t.Fatal(err)
	}
	switch {
	case e.Kind == "lost" && e.Seq > w.last:
		w.losses++
	case w.last != 0 && e.Seq != w.last+1:
		w.t.Errorf("behind event %d comes %d: %+v", w.last, e.Seq, e)
	}
	w.last = e.Seq
	return e
}

// until reads to an event of a kind.
func (w *watcher) until(kind string) control.Event {
	w.t.Helper()
	for late := time.After(guard); ; {
		select {
		case line, ok := <-w.lines:
			if !ok {
				w.t.Fatal("the events ended")
			}
			if e := w.take(line); e.Kind == kind {
				return e
			}
		case <-late:
			w.t.Fatalf("no event %s", kind)
		}
	}
}

// Workers write into a relayed file, which is renamed and opened again, while
// masters are replaced and killed: no line is lost or torn, and who follows the
// events hears of each reopening, by one command.
func TestLogFilesOutliveMasters(t *testing.T) {
	p := newPool(t)
	path := filepath.Join(p.dir, "web.log")
	words := p.keeping()
	words = append(words[:1:1], append([]string{"--log.stdout", "relay:" + path, "--log.stderr", "relay:" + path}, words[1:]...)...)
	words = append(words, "-log-every", "1ms")
	p.begin(words...)
	before := p.status()
	w := p.watch()
	names := []string{}
	turn := func() {
		aside := path + "." + string(rune('a'+len(names)/26)) + string(rune('a'+len(names)%26))
		if err := os.Rename(path, aside); err != nil {
			t.Fatal(err)
		}
		names = append(names, aside)
		if err := p.run.Process.Signal(syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		// What is told may still be of a signal before this one.
		for there := false; !there; {
			if e := w.until("reopened"); e.Text != path {
				t.Errorf("reopened: %q", e.Text)
			}
			_, err := os.Stat(path)
			there = err == nil
		}
	}
	for range loadtest.Scale(50) {
		turn()
		if code, out, errs := ask(t, p.fugue("upgrade", "web")); code != 0 {
			t.Errorf("upgrade: exit %d\n%s%s", code, out, errs)
		}
		turn()
	}
	if w.losses != 0 {
		t.Errorf("%d times events were said to be lost over handovers", w.losses)
	}
	kills := loadtest.Scale(20)
	for range kills {
		p.die()
		p.again("took over from a master that is gone", words...)
		w.until("lost")
		turn()
	}
	if w.losses != kills {
		t.Errorf("%d kills of the master, and %d times it was said that events may be missing", kills, w.losses)
	}
	if now := p.status(); !slices.Equal(workersOf(now), workersOf(before)) {
		t.Errorf("the workers were %v and are %v", workersOf(before), workersOf(now))
	}
	if code, _, errs := ask(t, p.fugue("stop", "web")); code != 0 {
		t.Errorf("stop: exit %d\n%s", code, errs)
	}
	_ = p.run.Wait()
	var all strings.Builder
	for _, name := range append(names, path) {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b)
	}
	counted(t, all.String(), workersOf(before), regexp.MustCompile(`^web/\d \| (tick \d+ \d+)$`), kills)
}
