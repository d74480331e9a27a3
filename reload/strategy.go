package reload

import (
	"fmt"

	"fugue/pool"
)

// Amount is a number of workers or a share of those wanted.
type Amount struct {
	N       int
	Percent bool
}

// String writes it as the config does.
func (a Amount) String() string {
	if a.Percent {
		return fmt.Sprintf("%d%%", a.N)
	}
	return fmt.Sprint(a.N)
}

// Up resolves the amount and rounds a share up, as Kubernetes does for
// max_surge.
func (a Amount) Up(want int) int {
	if !a.Percent {
		return a.N
	}
	return (want*a.N + 99) / 100
}

// Down resolves the amount and rounds a share down, as Kubernetes does for
// max_unavailable.
func (a Amount) Down(want int) int {
	if !a.Percent {
		return a.N
	}
	return want * a.N / 100
}

// Strategy says how far two generations may move next. from is what is being
// left, to what is being gone to; on the way back the two are exchanged.
type Strategy interface {
	Step(want int, from, to pool.Count) (fromTarget, toTarget int)
}

// Rolling goes step by step, as a Kubernetes Deployment does: at most want +
// MaxSurge workers that are not stopping, at least want − MaxUnavailable
// ready ones.
type Rolling struct{ MaxSurge, MaxUnavailable Amount }

// bounds resolves the two for a number of workers. Shares may both round to
// zero, and then nothing could ever move: one may be unavailable then.
func (r Rolling) bounds(want int) (surge, unavailable int) {
	surge, unavailable = r.MaxSurge.Up(want), r.MaxUnavailable.Down(want)
	if surge == 0 && unavailable == 0 {
		unavailable = 1
	}
	return surge, unavailable
}

// Step keeps as many of from as readiness needs and fills the rest from to.
func (r Rolling) Step(want int, from, to pool.Count) (fromTarget, toTarget int) {
	surge, unavailable := r.bounds(want)
	needed := want - unavailable - to.Ready
	fromTarget = min(max(0, needed), from.Wanted)
	toTarget = min(want, max(to.Wanted, want+surge-fromTarget))
	return fromTarget, toTarget
}
