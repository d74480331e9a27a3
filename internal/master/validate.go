package master

import (
	"errors"
	"fmt"
	"slices"

	"fugue/internal/control"
	"fugue/pool"
	"fugue/reload"
)

// validate finds what would be a panic later on, or nonsense that no master
// writes: such a state is of another program, and none is better than it.
func (s *saved) validate() error {
	known := map[pool.Generation]bool{}
	for _, g := range s.Generations {
		if g.Config == nil || g.Release == nil || g.Number <= 0 || known[g.Number] {
			return fmt.Errorf("read the state: generation %d has no release, or two", g.Number)
		}
		known[g.Number] = true
	}
	if err := s.Master.validateTable(known); err != nil {
		return err
	}
	if err := s.validateWorkers(known); err != nil {
		return err
	}
	h := s.Master
	switch {
	case h.Current == 0 && h.Ended: // stopped before it had any release
	case !known[h.Current]:
		return fmt.Errorf("read the state: generation %d is not in it", h.Current)
	}
	for i, g := range h.Leftovers {
		if !known[g] || g == h.Current || slices.Contains(h.Leftovers[:i], g) {
			return fmt.Errorf("read the state: generation %d is not in it, or twice", g)
		}
	}
	if h.Wanted < 0 || h.FileWanted < 0 || h.Wanted > maxWorkers {
		return fmt.Errorf("read the state: %d workers make no sense", h.Wanted)
	}
	return h.validateRollout(known)
}

// validateTable wants one row for every generation, and no others.
func (h *savedMaster) validateTable(known map[pool.Generation]bool) error {
	rows := map[pool.Generation]bool{}
	for _, row := range h.Table {
		if !known[row.Generation] || rows[row.Generation] || row.Target < 0 {
			return fmt.Errorf("read the state: the row of generation %d makes no sense", row.Generation)
		}
		rows[row.Generation] = true
	}
	for g := range known {
		if !rows[g] {
			return fmt.Errorf("read the state: generation %d has no row", g)
		}
	}
	return nil
}

func (s *saved) validateWorkers(known map[pool.Generation]bool) error {
	ids, slots, pids := map[pool.ID]bool{}, map[int]bool{}, map[int]bool{}
	for _, w := range s.Workers {
		if _, ok := stateOf[w.State]; !ok || !known[w.Generation] || w.PID <= 0 || w.Slot <= 0 || ids[w.ID] || slots[w.Slot] || pids[w.PID] || w.Why < 0 || w.Leaving < 0 || w.Due < 0 || w.Watchdog < 0 {
			return fmt.Errorf("read the state: worker %d makes no sense", w.ID)
		}
		ids[w.ID], slots[w.Slot], pids[w.PID] = true, true, true
	}
	return nil
}

func (h *savedMaster) validateRollout(known map[pool.Generation]bool) error {
	r := h.Rollout
	if r == nil {
		return nil
	}
	nowhere := errors.New("read the state: its rollout leads nowhere")
	if _, ok := phaseOf[r.Phase]; !ok || !known[r.To] || len(r.From) == 0 || r.From[0] != h.Current || r.Want < 0 || r.Hold < 0 {
		return nowhere
	}
	for _, g := range r.From {
		if !known[g] || g == r.To {
			return nowhere
		}
	}
	if !r.reasoned() {
		return nowhere
	}
	if !slices.ContainsFunc(h.Changes, func(c control.Change) bool {
		return c.Number == h.Running && c.Kind == kindReload && c.State != control.ChangeDone
	}) {
		return errors.New("read the state: nobody has asked for its rollout")
	}
	return nil
}

// reasoned reports that there is a reason where the phase has to have one.
func (r *savedRollout) reasoned() bool {
	phase := phaseOf[r.Phase]
	turned := phase == reload.RollingBack || phase == reload.Undone || phase == reload.Stuck
	return (!turned || r.Why != "") && (phase != reload.Stuck || r.WhyStuck != "")
}
