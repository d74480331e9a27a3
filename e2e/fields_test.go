package e2e_test

import (
	"regexp"
	"strconv"
	"testing"

	"fugue/e2e"
)

// told is a message of the master about one worker.
var told = regexp.MustCompile(`^(stopping )?worker (\d+) \(pid (\d+)\) of generation (\d+)(: | started$| is ready$| ended: | stopped after )`)

// What the master says of a worker's life is found by fields and not by its
// text, belongs to the unit, and is as urgent as it says.
func TestJournalFields(t *testing.T) {
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		p := newPool(t, sb, selfBound)
		sb.Install(e2e.Fugue(t), ctl)
		sb.Do("systemctl", "start", "web")
		master := sb.MainPID("web")
		victim := p.status().Workers[1]
		for _, w := range p.workers() {
			if w.PID == victim.PID {
				sb.Kill(w)
			}
		}
		sb.WaitJournal(func(e e2e.Entry) bool {
			who := told.FindStringSubmatch(e["MESSAGE"])
			return who != nil && who[2] == strconv.Itoa(victim.Slot) && who[3] != strconv.Itoa(victim.PID) && who[5] == " is ready"
		}, "-u", "web", "FUGUE_POOL=web")
		p.deploy("-version", "v2")
		p.reload()
		sb.Do("systemctl", "stop", "web")

		said := map[string]int{}
		for _, e := range sb.JournalEntries("-u", "web", "FUGUE_POOL=web") {
			who := told.FindStringSubmatch(e["MESSAGE"])
			if who == nil {
				continue
			}
			what, priority := who[1]+who[5], "6"
			if what == " ended: " {
				priority = "4"
			}
			said[what]++
			for field, want := range map[string]string{
				"FUGUE_WORKER": who[2], "FUGUE_GENERATION": who[4], "PRIORITY": priority,
				"SYSLOG_IDENTIFIER": "fugue", "_SYSTEMD_UNIT": "web.service", "_PID": strconv.Itoa(master.PID), "_TRANSPORT": "journal",
			} {
				if e[field] != want {
					t.Errorf("%q has %s=%q, want %q", e["MESSAGE"], field, e[field], want)
				}
			}
		}
		// Four workers, one in the place of the victim, four of the next release.
		for what, times := range map[string]int{" started": 9, " is ready": 9, " ended: ": 1, "stopping : ": 8, " stopped after ": 8} {
			if said[what] != times {
				t.Errorf("%q was said %d times of a worker, want %d; all: %v", what, said[what], times, said)
			}
		}

		// One worker's life, as a person asks for it.
		slot := strconv.Itoa(victim.Slot)
		for _, e := range sb.JournalEntries("FUGUE_POOL=web", "FUGUE_WORKER="+slot, "FUGUE_GENERATION=1", "_SYSTEMD_UNIT=web.service") {
			if who := told.FindStringSubmatch(e["MESSAGE"]); who == nil || who[2] != slot || who[4] != "1" {
				t.Errorf("among what is said of worker %s is %q", slot, e["MESSAGE"])
			}
		}
		if got := sb.JournalEntries("FUGUE_GENERATION=2", "PRIORITY=6", "-g", "^reload .*generation 2 serves"); len(got) != 1 {
			t.Errorf("the end of the reload is found %d times by its generation: %v", len(got), got)
		}
	})
}
