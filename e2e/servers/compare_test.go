package servers_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
)

// A server that drains loses nothing under fugue. What one loses that does not is
// its own: uvicorn closes a connection if its stop comes between the accept and
// the first read, which one stop in fifty or a hundred does, whoever sent the
// SIGTERM; Starman in every few stops. So fugue must not lose more than a bare
// signal: as many stops, the same load, as many others that serve, and the next
// one starting meanwhile.
//
// That is for chance to say, and so the error of the test is chosen: where both
// lose alike a comparison is out of the ordinary less than once in 200 (errorRate),
// whatever the machine does meanwhile; and then all is done once more, for there are
// many servers, and many runs: it fails less than once in 40,000. In each round both
// run, one after the other, first the one and then the other; if they are alike, what
// is the one's count might as well have been the other's. So the difference of all
// rounds together is compared with those that come out when the counts of some rounds
// change places. It is over as soon as fugue is not ahead in all rounds so far, which
// makes an error only rarer. Full counts find a server that loses three times as much by fugue; a tenth of them,
// what is far more than that. What fugue might do to each worker that a signal does
// not, TestStopIsASigterm finds without chance.
const (
	rounds    = 12
	errorRate = 0.005
)

func compare(t *testing.T, s server) {
	t.Helper()
	var said []string
	for range 2 {
		p, text := compareOnce(t, s)
		if p >= errorRate {
			return
		}
		t.Log(text)
		said = append(said, text)
	}
	t.Error(strings.Join(said, "\nand once more:\n"))
}

// compareOnce is one comparison: how probable it is that servers to which both are
// the same differ so much, and the account of it.
func compareOnce(t *testing.T, s server) (p float64, text string) {
	t.Helper()
	var ahead []int // fugue's losses above those of the bare signal, by round
	fugues, bares := 0, 0
	for round := range rounds {
		var fugue, bare int
		if round%2 == 0 {
			fugue = lostByFugue(t, s)
			if s.lossless && fugue > 0 {
				t.Fatalf("%s drains, and yet %d requests were not served", s.name, fugue)
			}
			if fugues+fugue <= bares {
				return 1, ""
			}
			bare = lostByItself(t, s)
		} else {
			bare = lostByItself(t, s)
			fugue = lostByFugue(t, s)
		}
		fugues, bares, ahead = fugues+fugue, bares+bare, append(ahead, fugue-bare)
		t.Logf("%s: %d connections lost by fugue, %d by a bare signal", s.name, fugues, bares)
		if fugues <= bares {
			return 1, ""
		}
	}
	p = chance(ahead)
	return p, fmt.Sprintf("%s lost %d connections by fugue and %d by as many bare signals; of servers to which both are the same, one in %.0f differs so much; by round: %v",
		s.name, fugues, bares, 1/p, ahead)
}

// chance is how probable it is that differences add up to this much or more, if
// each might as well have been the opposite.
func chance(differences []int) float64 {
	sum := 0
	for _, d := range differences {
		sum += d
	}
	ways := 1 << len(differences)
	as := 0
	for way := range ways {
		other := 0
		for i, d := range differences {
			if way>>i&1 == 1 {
				d = -d
			}
			other += d
		}
		if other >= sum {
			as++
		}
	}
	return float64(as) / float64(ways)
}

func TestChance(t *testing.T) {
	for _, c := range []struct {
		differences []int
		want        float64
	}{
		{nil, 1},
		{[]int{0, 0, 0}, 1},
		{[]int{5}, 1. / 2},
		{[]int{1, 1, 1, 1}, 1. / 16},
		{[]int{3, -1, 2}, 2. / 8},
		{[]int{1, 2, 1, 3, 1, 1, 2, 1, 1, 4, 1, 1}, 1. / 4096},
		{[]int{-1, -1}, 1},
		// Starman, 35 to 11, as long as the bare signal came in the load's pause.
		{[]int{3, 3, 3, 2, 2, -2, 2, 2, 1, 2, 2, 4}, 9. / 4096},
	} {
		if got := chance(c.differences); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%v: %v, want %v", c.differences, got, c.want)
		}
	}
}

// lostByFugue counts the connections that a server closes without an answer when
// each of its two processes is stopped so often by fugue.
func lostByFugue(t *testing.T, s server) int {
	t.Helper()
	n := reloads()
	address := ""
	if s.fixed {
		address = freeAddress(t)
	}
	var releases []release
	for i := range n + 1 {
		one := s.release(i)
		one.address = address
		releases = append(releases, one)
	}
	r := reloadUnderLoad(t, s, releases)
	t.Logf("fugue, %d reloads: %v", n, r)
	checkFlow(t, r)
	return unserved(r)
}

// lostByItself is the same with no fugue.
func lostByItself(t *testing.T, s server) int {
	t.Helper()
	alone := newBare(t, s).replace(reloads(), s.load())
	t.Logf("bare signal: %v", alone)
	return unserved(alone)
}
