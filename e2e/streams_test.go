package e2e_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"fugue/e2e"
)

// One stream of the workers goes to the journal, as a stream of their own, and
// the other somewhere else; each reload turns that round. What is written is where
// it should be and nowhere else.
func TestMixedStreams(t *testing.T) {
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		p := newPool(t, sb, selfBound)
		sb.Install(e2e.Fugue(t), ctl)
		const file = "/t/workers.log"
		wantFile := 0
		for i, c := range [][2]string{{"journal", "null"}, {file, "journal"}, {"journal", "inherit"}, {"relay", "journal"}, {"null", file}, {"journal", "journal"}} {
			out, err := fmt.Sprintf("step %d to stdout.", i), fmt.Sprintf("step %d to stderr.", i)
			p.tables = selfBound + fmt.Sprintf("[log]\nstdout = %q\nstderr = %q\n", c[0], c[1])
			p.deploy("-stdout", out, "-stderr", err)
			if i == 0 {
				sb.Do("systemctl", "start", "web")
			} else {
				p.reload()
			}
			workers := map[string]string{} // slot by PID
			for _, w := range p.status().Workers {
				if w.Generation == i+1 {
					workers[strconv.Itoa(w.PID)] = strconv.Itoa(w.Slot)
				}
			}
			main := strconv.Itoa(sb.MainPID("web").PID)
			for n, text := range []string{out, err} {
				there := c[n] == "journal" || c[n] == "inherit" || c[n] == "relay"
				var got []string
				look := func() bool {
					got = nil
					for _, e := range sb.JournalEntries("-u", "web") {
						if e["MESSAGE"] == text || strings.HasSuffix(e["MESSAGE"], "| "+text) {
							got = append(got, e["SYSLOG_IDENTIFIER"]+" "+e["_PID"]+" "+e["PRIORITY"]+" "+e["_SYSTEMD_UNIT"])
						}
					}
					return !there || len(got) >= 4
				}
				p.await("four times "+text, look) // what is relayed comes when its turn comes
				priority := []string{"6", "4"}[n]
				for _, entry := range got {
					words := strings.Fields(entry)
					slot := workers[words[1]]
					ok := false
					switch c[n] {
					case "journal":
						ok = words[0] == "web/"+slot && words[2] == priority
					case "inherit":
						ok = words[0] == "fugue" && slot != ""
					case "relay":
						ok = words[0] == "fugue" && words[1] == main
					}
					if !ok || words[3] != "web.service" {
						t.Errorf("%q, which is to go to %q: the journal has it from %s; the workers are %v", text, c[n], entry, workers)
					}
				}
				if there != (len(got) == 4) || len(workers) != 4 {
					t.Errorf("%q, which is to go to %q, is %d times in the journal, of %d workers", text, c[n], len(got), len(workers))
				}
				if c[n] == file {
					wantFile++
					if times := strings.Count(sb.ReadFile(file), text+"\n"); times != 4 {
						t.Errorf("%q is %d times in %s", text, times, file)
					}
				}
			}
		}
		if lines := strings.Count(sb.ReadFile(file), "\n"); lines != 4*wantFile {
			t.Errorf("%s has %d lines, want %d:\n%s", file, lines, 4*wantFile, sb.ReadFile(file))
		}
	})
}
