package reload

import (
	"slices"

	"fugue/pool"
)

// Share gives the generations of a pool n workers together. More go to the
// first of them; fewer are taken from what is not ready before what is, and
// from the others before the first. For the pool of one generation it is
// SetTarget; the more are for one whose rollout got stuck.
func Share(p *pool.Pool, gens []pool.Generation, n int) {
	surplus := -n
	for _, g := range gens {
		surplus += p.Target(g)
	}
	take := func(g pool.Generation, most int) {
		k := min(max(0, most), max(0, surplus))
		p.SetTarget(g, p.Target(g)-k)
		surplus -= k
	}
	order := slices.Concat(gens[1:], gens[:1])
	for _, g := range order {
		take(g, p.Target(g)-p.Count(g).Ready)
	}
	for _, g := range order {
		take(g, p.Target(g))
	}
	if surplus < 0 {
		p.SetTarget(gens[0], p.Target(gens[0])-surplus)
	}
}
