package master

import (
	"slices"

	"fugue/internal/control"
	"fugue/pool"
)

// collector puts the records of a state together. One about the same thing as an
// earlier one takes its place, so that a state may go on where it was appended to.
type collector struct{ *saved }

func (c *collector) take(r record) {
	switch {
	case r.Master != nil:
		before := c.Master
		c.Master = *r.Master
		if c.Master.Changes == nil {
			c.Master.Changes = before.Changes
		}
		if c.Master.Slots == nil {
			c.Master.Slots = before.Slots
		}
	case r.Change != nil:
		c.Master.Changes = replace(c.Master.Changes, *r.Change, ofChange(r.Change.Number))
	case r.Generation != nil:
		c.Generations = replace(c.Generations, *r.Generation, ofGeneration(r.Generation.Number))
	case r.Slot != nil:
		c.Master.Slots = replace(c.Master.Slots, *r.Slot, ofSlot(r.Slot.Slot))
	case r.Worker != nil:
		c.Workers = replace(c.Workers, *r.Worker, ofWorker(r.Worker.ID))
	case r.Exec != nil:
		c.Exec = r.Exec
	case r.Gone != nil:
		c.remove(*r.Gone)
	}
}

// remove takes away what is there no more; of a later version's parts it knows
// none.
func (c *collector) remove(g gone) {
	switch g.Part {
	case partChange:
		c.Master.Changes = slices.DeleteFunc(c.Master.Changes, ofChange(g.Number))
	case partGeneration:
		c.Generations = slices.DeleteFunc(c.Generations, ofGeneration(pool.Generation(g.Number)))
	case partSlot:
		c.Master.Slots = slices.DeleteFunc(c.Master.Slots, ofSlot(g.Number))
	case partWorker:
		c.Workers = slices.DeleteFunc(c.Workers, ofWorker(pool.ID(g.Number)))
	case partExec:
		c.Exec = nil
	}
}

func replace[T any](all []T, one T, same func(T) bool) []T {
	if i := slices.IndexFunc(all, same); i >= 0 {
		all[i] = one
		return all
	}
	return append(all, one)
}

func ofChange(n int) func(control.Change) bool {
	return func(c control.Change) bool { return c.Number == n }
}

func ofGeneration(n pool.Generation) func(savedGeneration) bool {
	return func(g savedGeneration) bool { return g.Number == n }
}

func ofSlot(n int) func(savedSlot) bool { return func(s savedSlot) bool { return s.Slot == n } }

func ofWorker(id pool.ID) func(savedWorker) bool {
	return func(w savedWorker) bool { return w.ID == id }
}
