package pooltest

import (
	"flag"
	"os"
	"runtime/debug"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

// Random checks n random cases of a property, split over two goroutines: n
// times FUGUE_TEST_SCALE (1 if it is unset), a hundredth of that under the
// race detector, a fifth with -short. -rapid.checks overrides all of it, a
// failure is shrunk, and printed with the seed that repeats it.
func Random(t *testing.T, n int, property func(*rapid.T)) {
	if set := flag.Lookup("rapid.checks"); set.Value.String() == set.DefValue {
		scale := 1.0
		if text := os.Getenv("FUGUE_TEST_SCALE"); text != "" {
			v, err := strconv.ParseFloat(text, 64)
			if err != nil {
				t.Fatalf("read FUGUE_TEST_SCALE: %v", err)
			}
			scale = v
		}
		if race {
			scale /= 100
		}
		checks := max(20, int(float64(n)*scale)/2)
		if err := set.Value.Set(strconv.Itoa(checks)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = set.Value.Set(set.DefValue) })
	}
	_ = flag.Set("rapid.nofailfile", "true") // the seed is enough, and testdata stays as it is
	before := debug.SetGCPercent(800)        // millions of small worlds
	t.Cleanup(func() { debug.SetGCPercent(before) })
	for _, half := range []string{"a", "b"} {
		t.Run(half, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, property)
		})
	}
}
