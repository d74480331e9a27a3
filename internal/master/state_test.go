package master

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"fugue/activation"
	"fugue/pool"
)

var writeState = flag.Bool("write-state", false, "write the state file of this version, once in its life")

// stateGolden is what this version writes.
const stateGolden = "testdata/state/1.1.json"

// TestStateGolden: what any version has written is read for ever, and nothing
// that it says is lost when it is written again.
func TestStateGolden(t *testing.T) {
	if *writeState {
		writeGolden(t)
	}
	files, err := filepath.Glob("testdata/state/*.json")
	if err != nil || len(files) < 2 || !slices.Contains(files, stateGolden) {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s, err := decode(b, "web")
			if err != nil {
				t.Fatal(err)
			}
			h := s.Master
			if h.Current != 2 || h.Rollout == nil || h.Rollout.To != 3 || len(s.Generations) != 2 || len(h.Changes) < 4 {
				t.Errorf("read as %+v", h)
			}
			states := map[string]bool{}
			for _, w := range s.Workers {
				states[w.State] = true
			}
			if len(states) != 4 {
				t.Errorf("workers are %v, want one in each state", states)
			}
			again := reencode(t, s)
			now := partsOf(t, again)
			for name, was := range partsOf(t, b) {
				if !has(now[name], was) {
					t.Errorf("%s\n%v\nis written again as\n%v", name, was, now[name])
				}
			}
			if twice, err := decode(again, "web"); err != nil || !bytes.Equal(reencode(t, twice), again) {
				t.Errorf("written again and again it changes: %v", err)
			}
			restores(t, b)
		})
	}
}

// golden is a small one: without anything appended.
func golden(t testing.TB) []byte {
	b, err := os.ReadFile("testdata/state/1.0.json")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// partsOf is what a state says of each thing in the end, in the way of today:
// version 1.0 had changes and slots in the master's record.
func partsOf(t *testing.T, b []byte) map[string]any {
	numbers := map[string]string{"change": "number", "generation": "number", "slot": "slot", "worker": "id"}
	parts := map[string]any{}
	put := func(part string, value any) {
		number := any(0.0)
		if v, ok := value.(map[string]any); ok && numbers[part] != "" {
			number = v[numbers[part]]
		}
		parts[fmt.Sprintf("%s %v", part, number)] = value
	}
	for i, line := range bytes.Split(bytes.TrimSpace(b), []byte("\n")) {
		var record map[string]any
		if err := json.Unmarshal(line, &record); err != nil {
			t.Fatalf("line %d: %v", i+1, err)
		}
		if gone, ok := record["gone"].(map[string]any); ok {
			delete(parts, fmt.Sprintf("%v %v", gone["part"], gone["number"]))
			continue
		}
		if i == 0 {
			record = map[string]any{"header": record}
		}
		if master, ok := record["master"].(map[string]any); ok {
			for list, part := range map[string]string{"changes": "change", "slots": "slot"} {
				all, _ := master[list].([]any)
				delete(master, list)
				for _, one := range all {
					put(part, one)
				}
			}
		}
		for part, value := range record {
			put(part, value)
		}
	}
	return parts
}

// has reports that a JSON value has all of another.
func has(is, was any) bool {
	w, ok := was.(map[string]any)
	if !ok {
		return reflect.DeepEqual(is, was)
	}
	i, _ := is.(map[string]any)
	for key, value := range w {
		if !has(i[key], value) {
			return false
		}
	}
	return true
}

func reencode(t testing.TB, s *saved) []byte {
	var out bytes.Buffer
	line := func(v any) {
		b, err := encode(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(b)
	}
	head := s.Master
	head.Changes, head.Slots = nil, nil
	line(s.header)
	line(record{Master: &head})
	for _, c := range s.Master.Changes {
		line(record{Change: &c})
	}
	for _, g := range s.Generations {
		line(record{Generation: &g})
	}
	for _, slot := range s.Master.Slots {
		line(record{Slot: &slot})
	}
	for _, w := range s.Workers {
		line(record{Worker: &w})
	}
	return out.Bytes()
}

// writeGolden catches a rollout with workers in each state, as it is in the
// file: with what was appended.
func writeGolden(t *testing.T) {
	started(t, "workers = 3", func(h *harness) {
		h.deploy("v1", manner{ready: time.Second, drain: time.Minute})
		h.expect(h.reload(), "ok", 0)
		h.pass(2 * time.Minute)
		h.with(func() { h.append = true })
		h.expect(h.scale(5), "ok", 0)
		h.pass(2 * time.Minute)
		h.expect(h.scale(4), "ok", 0)
		h.deploy("v2", manner{ready: 3 * time.Second, drain: time.Minute})
		h.with(func() {
			h.onSave = func(bool) {
				states, s := map[string]bool{}, h.savedNow()
				for _, w := range s.Workers {
					states[w.State] = true
				}
				if len(states) < 4 || s.Master.Rollout == nil || !bytes.Contains(h.saved, []byte(`{"gone":`)) {
					return
				}
				h.onSave = nil
				_, lines, _ := bytes.Cut(h.saved, []byte("\n"))
				head := header{stateMajor, stateMinor, fmt.Sprintf("%d.%d", stateMajor, stateMinor), "web", "5a0be5e4-3a3c-4d5f-9a63-0d2f3a3e4c55", nil}
				first, _ := encode(head)
				if err := os.WriteFile(stateGolden, append(first, lines...), 0o644); err != nil {
					t.Error(err)
				}
			}
		})
		h.verdict(h.reload())
		h.reload()
	})
}

// restores goes on from a state that was let pass, and never panics.
func restores(t testing.TB, b []byte) {
	s, err := decode(b, "")
	if err != nil || s.Master.Ended {
		return
	}
	w := &world{processes: map[int]*process{}, stored: map[string]int{}}
	m := New(Options{Name: s.Pool, Log: quiet(), Clock: func() time.Duration { return time.Hour }}, w)
	m.scribe = newScribe(m.header(), newDial(m.opts.Clock))
	in := Inheritance{State: s, Sockets: map[pool.Generation]*activation.Set{}}
	in.Held, _ = activation.Restore(nil)
	for _, g := range s.Generations {
		in.Sockets[g.Number], _ = activation.Restore(nil)
	}
	m.restorePool(in, m.scribe.dial)
	m.changes.restore(s.Master, m.scribe.dial)
	m.current = s.Master.Current
	if _, err := m.scribe.update(m); err != nil {
		t.Error(err)
	}
}

// What is not known is passed over: it is of a later version.
func TestStateOfLater(t *testing.T) {
	b := strings.Replace(string(golden(t)), `"minor":0`, `"minor":7,"mood":"good"`, 1)
	b = strings.ReplaceAll(b, `{"worker":{`, `{"worker":{"colour":[1,{"x":2}],`) + `{"spare":{"id":1}}` + "\n"
	s, err := decode([]byte(b), "web")
	if err != nil || s.Minor != 7 {
		t.Errorf("%v", err)
	}
}

// What cannot be used is an error that says so.
func TestStateOfOthers(t *testing.T) {
	b := string(golden(t))
	for _, c := range []struct{ old, new, want string }{
		{`"major":1`, `"major":2`, "version 2.0, written by fugue 1.0, and this program reads 1.x"},
		{`"pool":"web"`, `"pool":"mail"`, "of the pool mail, and this is web"},
		{`"current":2`, `"current":9`, "generation 9 is not in it"},
		{`"target":`, `"target":-`, "row of generation"},
		{`"slot":`, `"slot":-`, "worker "},
		{`"slot":2`, `"slot":1`, "worker "},
		{`"phase":"`, `"phase":"x`, "leads nowhere"},
		{`"current":2`, `"current":2,"leftovers":[2]`, "or twice"},
		{`"running":`, `"running":9`, "nobody has asked"},
		{`"wanted":`, `"wanted":-`, "make no sense"},
		{`"config":{`, `"config":null,"x":{`, "no release"},
	} {
		_, err := decode([]byte(strings.Replace(b, c.old, c.new, 1)), "web")
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s for %s: %v, want %q", c.new, c.old, err, c.want)
		}
	}
}

// A state that is cut off or has lost a line is an error or can be used.
func TestStateOfWhichPartIsMissing(t *testing.T) {
	b := golden(t)
	for i := range len(b) {
		if s, err := decode(b[:i], "web"); err == nil && b[i-1] != '\n' && b[i] != '\n' {
			t.Errorf("cut at %d it is read as %d workers", i, len(s.Workers))
		}
	}
	lines := bytes.SplitAfter(b, []byte("\n"))
	for i := range lines {
		restores(t, bytes.Join(append(append([][]byte{}, lines[:i]...), lines[i+1:]...), nil))
	}
	if _, err := decode(nil, "web"); err == nil || !strings.Contains(err.Error(), "empty") {
		t.Errorf("nothing: %v", err)
	}
}

// FuzzDecode: no bytes make a master panic.
func FuzzDecode(f *testing.F) {
	b := golden(f)
	f.Add(b)
	if appended, err := os.ReadFile(stateGolden); err == nil {
		f.Add(appended)
	}
	for i, line := range bytes.SplitAfter(b, []byte("\n")) {
		f.Add(line)
		f.Add(b[:len(b)*i/10%len(b)])
	}
	f.Add([]byte(fmt.Sprintf(`{"major":1,"pool":"web"}%c{"master":{"ended":true}}`, '\n')))
	f.Fuzz(func(t *testing.T, b []byte) { restores(t, b) })
}
