package pool_test

import (
	"testing"

	"fugue/pool/pooltest"
)

// TestMutants breaks one rule after the other in a copy of the code, and
// looks whether the random runs notice. A mutant that survives means that a
// promise is not checked.
func TestMutants(t *testing.T) {
	pooltest.Mutants(t, []pooltest.Mutant{
		{
			Name: "the oldest are stopped first", Rule: "cull",
			File: "next.go", Old: "return int(b.ID - a.ID)", New: "return int(a.ID - b.ID)",
		},
		{
			Name: "the ready are stopped first", Rule: "cull",
			File: "next.go", Old: "if a.State == Starting {\n\t\t\t\treturn -1", New: "if a.State != Starting {\n\t\t\t\treturn -1",
		},
		{
			Name: "backoff is ignored", Rule: "(backoff|quiet)",
			File: "backoff.go", Old: "if b.streak < 2 {", New: "if b.streak < 200 {",
		},
		{
			Name: "every worker of a round counts", Rule: "(backoff|target|wake)",
			File: "backoff.go", Old: "born.Before(b.since)", New: "born.Before(b.since.Add(-time.Hour))",
		},
		{
			Name: "the highest slot and not the lowest free", Rule: "slot",
			File: "next.go", Old: "return 1 + slices.Index(used[1:], false)", New: "return 1 + len(p.workers)",
		},
		{
			Name: "stops are handed out twice", Rule: "(once|quiet)",
			File: "next.go", Old: "w.signalled = true\n", New: "",
		},
		{
			Name: "kills are handed out twice", Rule: "(once|quiet)",
			File: "next.go", Old: "w.killed, w.judged = true, true", New: "w.judged = true",
		},
		{
			Name: "no time to stop", Rule: "kill",
			File: "worker.go", Old: "w.killAt = now.Add(timeout)", New: "w.killAt = now",
		},
		{
			Name: "no wake for min_uptime", Rule: "wake",
			File: "next.go", Old: "sooner(w.Since.Add(l.MinUptime))", New: "_ = l",
		},
		{
			Name: "what is stopped in one instant crowds", Rule: "crowded",
			File: "next.go", Old: "&& draining[0].Since.Before(draining[len(draining)-1].Since)", New: "",
		},
		{
			Name: "one failure counts twice", Rule: "facts",
			File: "facts.go", Old: "\t\tw.judged = true\n", New: "",
		},
		{
			Name: "a successor that does not know who was killed", Rule: "(once|quiet)",
			File: "snapshot.go", Old: "Killed: w.killed, ", New: "",
		},
		{
			Name: "a successor that forgets a backoff", Rule: "backoff",
			File: "snapshot.go", Old: "backoff: backoff{streak: r.Streak, since: r.FailedAt},", New: "",
		},
		{
			Name: "two are recycled at once", Rule: "(one|age|table)",
			File: "leave.go", Old: "leaving = true\n", New: "",
		},
		{
			Name: "who hangs keeps another's turn in a rollout", Rule: "one",
			File: "leave.go", Old: "leaving = true\n", New: "return\n",
		},
		{
			Name: "nobody has to come first", Rule: "(relieved|table)",
			File: "leave.go", Old: "w.Leaving != Wanted && serving >= gen.target", New: "w.Leaving != Wanted",
		},
		{
			Name: "recycled during a rollout", Rule: "(one|relieved|table)",
			File: "leave.go", Old: "return p.rollout || n > 1", New: "return false",
		},
		{
			Name: "a late look is held against the workers", Rule: "(table|watchdog|wake)",
			File: "watchdog.go", Old: "late = late || Late(now.Sub(w.aliveBy), w.interval)", New: "late = false",
		},
		{
			Name: "a late look is held against those that start", Rule: "(table|wake)",
			File: "late.go", Old: "w.State == Starting &&", New: "false && w.State == Starting &&",
		},
		{
			Name: "a late look is held against those that end", Rule: "kill",
			File: "late.go", Old: "w.State == Stopping &&", New: "false && w.State == Stopping &&",
		},
		{
			Name: "a late look excuses only those that are late", Rule: "(kill|table|wake)",
			File: "late.go", Old: "Late(late, limit)", New: "Late(now.Sub(*by), limit)",
		},
		{
			Name: "a short time prolongs a long one", Rule: "(table|wake)",
			File: "late.go", Old: "Late(late, limit)", New: "late > 0",
		},
		{
			Name: "who is killed at once is excused", Rule: "(quiet|live|wake)",
			File: "late.go", Old: " && w.Why != Abandoned", New: "",
		},
		{
			Name: "a late ping is judged without reading", Rule: "(table|watchdog)",
			File: "watchdog.go", Old: "			w.overdue = true\n", New: "			w.overdue = true\n			p.hung(now, w, Silent)\n",
		},
		{
			Name: "a successor that watches nobody", Rule: "(table|watchdog|wake)",
			File: "snapshot.go", Old: "Interval: w.interval, ", New: "",
		},
	})
}
