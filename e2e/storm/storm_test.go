package storm_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"fugue/e2e"
	"fugue/internal/loadtest"
)

func TestMain(m *testing.M) { os.Exit(e2e.Main(m)) }

// usual is as long as a test that everybody runs may be.
const usual = time.Minute

// storm is one walk over one pool.
type storm struct {
	*e2e.Sandbox
	t     *testing.T
	rng   *rand.Rand // of the walk alone: what runs beside it must not draw from it
	until time.Time
	loads []*e2e.Load

	log     journal
	victims victims
	beside  sync.WaitGroup // steps that go on while the walk does

	version int          // of the last release that was any good
	wanted  map[int]bool // what the number of workers may be; one once it is calm
	fds     map[string]int
	last    time.Time // when it was calm last
}

func TestStorm(t *testing.T) {
	length, err := time.ParseDuration(os.Getenv("FUGUE_STORM"))
	if err != nil {
		length = usual
	}
	seed, err := strconv.ParseUint(os.Getenv("FUGUE_STORM_SEED"), 10, 64)
	if err != nil {
		seed = rand.Uint64N(1_000_000)
	}
	t.Logf("FUGUE_STORM=%v FUGUE_STORM_SEED=%d", length, seed)
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		s := &storm{Sandbox: sb, t: t, rng: rand.New(rand.NewPCG(seed, 0)), wanted: map[int]bool{workers: true}}
		s.prepare()
		s.load(length)
		s.until = time.Now().Add(length)
		s.calm() // the pool as it is at its best: what a walk must lead back to
		for time.Now().Before(s.until) && !t.Failed() {
			s.walk(8 + s.rng.IntN(8))
			s.calm()
		}
		s.account()
	})
}

// load asks in three ways, not much in any: what is to be seen is a request that
// is lost, and two storms share two cores.
func (s *storm) load(length time.Duration) {
	paths := []string{"/", "/slow?ms=40", "/"}
	for _, c := range []loadtest.Config{
		{Address: "127.0.0.1:8080", Rate: 60, KeepAlive: 3, KeepAliveEvery: 100 * time.Millisecond},
		{Network: "unix", Address: "/t/web.sock", Rate: 30, KeepAlive: 2, KeepAliveEvery: 100 * time.Millisecond, Named: true},
	} {
		c.Paths = paths
		c.For = length + time.Hour // it is stopped
		c.Max = 1 << 30
		s.loads = append(s.loads, s.Load(c))
	}
}

// walk makes n steps. Some are waited for; some go on beside the next ones.
func (s *storm) walk(n int) {
	for range n {
		if s.t.Failed() || time.Now().After(s.until) {
			return
		}
		s.draw()(s)
		if s.rng.IntN(3) == 0 {
			s.beside.Wait()
		} else {
			// A stretch that is told in requests is longer on a slow machine.
			s.loads[0].AwaitMore(1 + s.rng.IntN(60))
		}
	}
}

// draw picks a step by weight.
func (s *storm) draw() func(*storm) {
	total := 0
	for _, c := range choices {
		total += c.weight
	}
	n := s.rng.IntN(total)
	for _, c := range choices {
		if n -= c.weight; n < 0 {
			return c.step
		}
	}
	panic("not reached")
}

var choices = []struct {
	weight int
	step   func(*storm)
}{
	{6, (*storm).reloadGood},
	{2, func(s *storm) { s.reloadBroken("exits", "-stderr", "as told", "-exit", "3") }},
	{1, func(s *storm) { s.reloadBroken("hangs", "-hang") }},
	{2, func(s *storm) {
		// It drains, so that its death is nobody's loss but the release's.
		s.reloadBroken("dies", "-die-after", "300ms", "-die-signal", "15", "-stop-code", "7")
	}},
	{2, (*storm).outOfAHang},
	{2, (*storm).cancel},
	{4, (*storm).scale},
	{3, (*storm).killWorker},
	{2, (*storm).stopWorker},
	{3, (*storm).killMaster},
	{4, (*storm).upgrade},
	{1, (*storm).upgradeBroken},
	{3, (*storm).restart},
	{1, (*storm).daemonReload},
	{1, (*storm).daemonReexec},
}

// release writes the configuration of a release: testworker with these flags.
// A rename, as a deploy does it: a master that reads meanwhile reads one or the
// other.
func (s *storm) release(version string, flags ...string) {
	s.t.Helper()
	words := fmt.Sprintf("%q, %q, %q, %q, %q", "/usr/bin/testworker", "-idle-grace", "3s", "-version", version)
	for _, f := range flags {
		words += fmt.Sprintf(", %q", f)
	}
	s.File("/etc/fugue/next", fmt.Sprintf(config, words))
	if err := os.Rename(s.Path("/etc/fugue/next"), s.Path("/etc/fugue/web.toml")); err != nil {
		s.t.Fatal(err)
	}
}

// nextVersion writes a release that works, under a version of its own.
func (s *storm) nextVersion() string {
	s.version++
	version := fmt.Sprintf("v%d", s.version)
	s.release(version)
	return version
}
