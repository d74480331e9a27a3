package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fugue/internal/config"
)

const tree = "../.."

func generated(t *testing.T) map[string][]byte {
	t.Helper()
	files, err := generate(tree, "1.2.3", time.Unix(1_700_000_000, 0).UTC())
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// A key without a row in docs/CONFIG.md, and a row without a key, fail here: the
// message says what to do.
func TestEachKeyHasItsRow(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(tree, "docs/CONFIG.md"))
	if err != nil {
		t.Fatal(err)
	}
	schema := config.JSONSchema()
	if err := describe(schema, string(text)); err != nil {
		t.Fatal(err)
	}
	described := map[string]string{}
	keyed(schema, "", func(name string, leaf map[string]any) {
		described[name], _ = leaf["description"].(string)
	})
	if described["reload.timeout"] == described["stop.timeout"] {
		t.Errorf("two keys have one description: %q", described["stop.timeout"])
	}

	for from, to := range map[string]string{
		"| `canary` |": "| `canari` |",
		"### [stop]":   "### [stopp]",
	} {
		err := describe(config.JSONSchema(), strings.Replace(string(text), from, to, 1))
		if err == nil || !strings.Contains(err.Error(), "has no row: add `") || !strings.Contains(err.Error(), "is about no key") {
			t.Errorf("%s instead of %s: %v", to, from, err)
		}
	}
}

func TestFilesAreWhole(t *testing.T) {
	files := generated(t)
	for _, name := range []string{
		"fugue.schema.json", "completions/fugue.bash", "completions/_fugue", "completions/fugue.fish",
		"man/fugue.1", "man/fugue-run.1", "man/fugue-reload.1", "man/fugue.toml.5", "man/fugue-worker.7",
	} {
		if len(files[name]) == 0 {
			t.Errorf("%s is not made", name)
		}
	}
	if !json.Valid(files["fugue.schema.json"]) {
		t.Error("the schema is no JSON")
	}
	for name, says := range map[string]string{
		"man/fugue.1":        "bad input, nothing changed",
		"man/fugue-run.1":    `new workers that must be available before an old one is told to stop`,
		"man/fugue.toml.5":   `max\_surge`,
		"man/fugue-worker.7": "LISTEN_FDNAMES",
	} {
		if text := string(files[name]); !strings.Contains(text, says) && !strings.Contains(text, strings.ReplaceAll(says, `\_`, "_")) {
			t.Errorf("%s does not say %q", name, says)
		}
	}
	script := filepath.Join(t.TempDir(), "fugue.bash")
	if err := os.WriteFile(script, files["completions/fugue.bash"], 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("bash", "-n", script).CombinedOutput(); err != nil {
		t.Errorf("bash does not read its completion: %v\n%s", err, out)
	}
	again := generated(t)
	for name, content := range files {
		if string(again[name]) != string(content) {
			t.Errorf("%s is another each time: packages must be the same byte for byte", name)
		}
	}
}

// What man itself has to complain about.
func TestPagesAreClean(t *testing.T) {
	dir := t.TempDir()
	for name, content := range generated(t) {
		if !strings.HasPrefix(name, "man/") {
			continue
		}
		if strings.Contains(string(content), "```") || strings.Contains(string(content), "](") || strings.Contains(string(content), "|---") {
			t.Errorf("%s: Markdown is left in it", name)
		}
		path := filepath.Join(dir, filepath.Base(name))
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", path)
		cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "MANROFFSEQ=", "MANWIDTH=80")
		var said strings.Builder
		cmd.Stderr = &said
		err := cmd.Run()
		for line := range strings.Lines(said.String()) {
			// A word as long as a line is the table's or the path's, not the page's fault.
			if !strings.Contains(line, "cannot adjust line") && !strings.Contains(line, "can't break line") {
				t.Errorf("%s: %s", name, line)
			}
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
