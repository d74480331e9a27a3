package pooltest

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Mutant is one change of the code that breaks a rule.
type Mutant struct {
	Name string
	File string // in the directory of the test
	Old  string // stands in it exactly once
	New  string
	Rule string // which rule has to notice: an expression
}

// Mutants compiles the test of this directory once for each mutant, with the
// file exchanged by -overlay, and expects TestRandom to fail by that rule. It
// fails itself when the text to be exchanged is gone.
func Mutants(t *testing.T, mutants []Mutant) {
	if testing.Short() || race {
		t.Log("the mutants are those of the plain run: each is compiled anew")
		return
	}
	for _, m := range mutants {
		t.Run(strings.ReplaceAll(m.Name, " ", "_"), func(t *testing.T) {
			out, err := m.run(t)
			noticed := regexp.MustCompile(`broken at \S+: rule "` + m.Rule + `"`)
			var exit *exec.ExitError
			switch {
			case err == nil:
				t.Errorf("the mutant survives:\n%s", out)
			case !errors.As(err, &exit) || !noticed.Match(out):
				t.Errorf("the mutant fails, but not by rule %q: %v\n%s", m.Rule, err, out)
			}
		})
	}
}

func (m Mutant) run(t *testing.T) ([]byte, error) {
	path, err := filepath.Abs(m.File)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), m.Old); n != 1 {
		t.Fatalf("%q stands %d times in %s, not once: the mutant needs a new text", m.Old, n, m.File)
	}
	dir := t.TempDir()
	mutated, overlay := filepath.Join(dir, m.File), filepath.Join(dir, "overlay.json")
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {path: mutated}})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(
		os.WriteFile(mutated, []byte(strings.Replace(string(text), m.Old, m.New, 1)), 0o600),
		os.WriteFile(overlay, replace, 0o600),
	); err != nil {
		t.Fatal(err)
	}
	// Most mutants are found within some hundred worlds, the shyest within 4,000 on
	// average: ten times that, so that it does not survive by chance.
	cmd := exec.Command("go", "test", "-overlay", overlay, "-vet=off", "-count=1", "-run", "^TestRandom$", ".",
		"-rapid.checks=50000", "-rapid.shrinktime=0s")
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOPROXY=off")
	return cmd.CombinedOutput()
}
