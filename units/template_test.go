package units

import (
	"os"
	"strings"
	"testing"
)

// The shipped template is the unit of a pool named %i, without what depends on
// its file: hardening, and the time that its workers take to stop.
func TestTemplate(t *testing.T) {
	text, err := os.ReadFile("../packaging/fugue@.service")
	if err != nil {
		t.Fatal(err)
	}
	cfg := parse(t, "command = ['x']\n[install]\nhardening = 'off'\nwanted_by = ['multi-user.target']\n")
	all, err := Make(cfg, Options{Version: Oldest})
	if err != nil {
		t.Fatal(err)
	}
	want := settings(strings.NewReplacer("web", "%i").Replace(all[0].Text))
	got := settings(string(text))
	for _, own := range []string{"Documentation=", "SourcePath=", "TimeoutStopSec="} {
		delete(want, own)
		delete(got, own)
	}
	for key, value := range want {
		if got[key] != value {
			t.Errorf("the template has %s%s, the units %s", key, got[key], value)
		}
	}
	for key, value := range got {
		if _, ok := want[key]; !ok {
			t.Errorf("only the template has %s%s", key, value)
		}
	}
}

// settings are the lines of a unit, by key.
func settings(text string) map[string]string {
	all := map[string]string{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if key, value, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "#") {
			all[key+"="] += value
		}
	}
	return all
}
