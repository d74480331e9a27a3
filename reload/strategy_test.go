package reload_test

import (
	"testing"

	"fugue/pool"
	"fugue/reload"
)

func TestAmount(t *testing.T) {
	for _, c := range []struct {
		amount         reload.Amount
		want, up, down int
		text           string
	}{
		{reload.Amount{N: 2}, 8, 2, 2, "2"},
		{reload.Amount{N: 25, Percent: true}, 8, 2, 2, "25%"},
		{reload.Amount{N: 25, Percent: true}, 5, 2, 1, "25%"},
		{reload.Amount{N: 25, Percent: true}, 1, 1, 0, "25%"},
		{reload.Amount{N: 1, Percent: true}, 100, 1, 1, "1%"},
		{reload.Amount{N: 1, Percent: true}, 99, 1, 0, "1%"},
		{reload.Amount{N: 100, Percent: true}, 7, 7, 7, "100%"},
		{reload.Amount{N: 0, Percent: true}, 7, 0, 0, "0%"},
		{reload.Amount{N: 50, Percent: true}, 0, 0, 0, "50%"},
	} {
		if up, down := c.amount.Up(c.want), c.amount.Down(c.want); up != c.up || down != c.down {
			t.Errorf("%v of %d: up %d, down %d, want %d and %d", c.amount, c.want, up, down, c.up, c.down)
		}
		if text := c.amount.String(); text != c.text {
			t.Errorf("%+v is written %q", c.amount, text)
		}
	}
}

// TestStep asks for the next step from every state that a pool of up to eight
// workers can be in, and walks on from there with every worker becoming
// ready: no step may take readiness or exceed the surge, and the walk must
// end with all workers new.
func TestStep(t *testing.T) {
	states := 0
	for want := range 9 {
		for surge := range 4 {
			for unavailable := range 4 {
				s := reload.Rolling{MaxSurge: reload.Amount{N: surge}, MaxUnavailable: reload.Amount{N: unavailable}}
				least := want - unavailable
				if surge == 0 && unavailable == 0 {
					least = want - 1
				}
				every(want+surge, func(from, to pool.Count) {
					states++
					walk(t, s, want, want+surge, least, from, to)
				})
			}
		}
	}
	if states < 40_000 {
		t.Errorf("only %d states", states)
	}
}

// every visits all pairs of counts whose targets sum to at most n.
func every(n int, visit func(from, to pool.Count)) {
	for from := range n + 1 {
		for to := range n - from + 1 {
			for fromReady := range from + 1 {
				for toReady := range to + 1 {
					visit(pool.Count{Wanted: from, Ready: fromReady}, pool.Count{Wanted: to, Ready: toReady})
				}
			}
		}
	}
}

func walk(t *testing.T, s reload.Rolling, want, most, least int, from, to pool.Count) {
	t.Helper()
	start := [2]pool.Count{from, to}
	for range 2*most + 2 {
		f, n := s.Step(want, from, to)
		switch {
		case f < 0 || f > from.Wanted:
			t.Fatalf("%+v of %d from %+v: the old go from %d to %d", s, want, start, from.Wanted, f)
		case n < 0 || n > want || n < min(want, to.Wanted):
			t.Fatalf("%+v of %d from %+v: the new go from %d to %d", s, want, start, to.Wanted, n)
		case f+n > most:
			t.Fatalf("%+v of %d from %+v: %d in all", s, want, start, f+n)
		}
		ready := min(from.Ready, f) + min(to.Ready, n)
		if ready < min(from.Ready+to.Ready, least) {
			t.Fatalf("%+v of %d from %+v: %+v, %+v to %d, %d leaves %d ready", s, want, start, from, to, f, n, ready)
		}
		if f == 0 && n == want && to.Ready >= want {
			return
		}
		from = pool.Count{Wanted: f, Ready: min(from.Ready, f)}
		to = pool.Count{Wanted: n, Ready: n} // they all become ready
	}
	t.Fatalf("%+v of %d from %+v does not end: %+v, %+v", s, want, start, from, to)
}
