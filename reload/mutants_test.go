package reload_test

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
			Name: "a step that ignores readiness", Rule: "ready",
			File: "strategy.go", Old: "needed := want - unavailable - to.Ready", New: "needed := want - unavailable - to.Wanted",
		},
		{
			Name: "a step beyond the surge", Rule: "surge",
			File: "strategy.go", Old: "want+surge-fromTarget", New: "want+surge+1",
		},
		{
			Name: "a gate that opens when the canaries are ready", Rule: "canary",
			File: "rollout.go", Old: "if to.Available < proven {", New: "if to.Ready < proven {",
		},
		{
			Name: "a gate that does not wait for the bake", Rule: "canary",
			File: "rollout.go", Old: "now.Add(r.limits.Bake)", New: "now",
		},
		{
			Name: "turning back stops the new generation at once", Rule: "ready",
			File: "back.go", Old: "newer.Wanted = min(newer.Wanted, newer.Ready)", New: "newer.Wanted = 0",
		},
		{
			Name: "stuck, and the new generation is stopped", Rule: "(stuck|ready|verdict)",
			File: "back.go", Old: "p.SetTarget(r.to, newer.Ready)", New: "p.SetTarget(r.to, 0)",
		},
		{
			Name: "undone before the old ones are back", Rule: "undone",
			File: "rollout.go", Old: "r.before = max(r.before, r.old(p).Ready)", New: "r.before = 0",
		},
		{
			Name: "done before all are available", Rule: "verdict",
			File: "rollout.go", Old: "if to.Available >= r.want && oldTarget == 0 {", New: "if to.Ready >= r.want && oldTarget == 0 {",
		},
		{
			Name: "failures of the new release are not looked at", Rule: "(live|broken|good)",
			File: "rollout.go", Old: "> r.limits.Tolerate {\n\t\treturn", New: "> r.limits.Tolerate+1000 {\n\t\treturn",
		},
		{
			Name: "the end of the bake has no wake", Rule: "(wake|live|quiet)",
			File: "rollout.go", Old: "return r.bakedAt\n", New: "return r.deadline\n",
		},
		{
			Name: "ready ones are taken before missing ones", Rule: "ready",
			File: "share.go", Old: "take(g, p.Target(g)-p.Count(g).Ready)", New: "take(g, 0)",
		},
		{
			Name: "a late look is held against the rollout", Rule: "time",
			File: "rollout.go", Old: "	if late {\n		r.setDeadline(now)\n	}\n	return !late", New: "	_ = late\n	return true",
		},
		{
			Name: "a successor that forgets how many served", Rule: "undone",
			File: "snapshot.go", Old: "before: s.Before, ", New: "",
		},
	})
}
