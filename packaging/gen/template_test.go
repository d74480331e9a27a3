package main

import (
	"os"
	"slices"
	"strings"
	"testing"

	"fugue/internal/config"
	"fugue/units"
)

// The template that the package ships is what the generator would write for a
// file that says nothing, but for what depends on the file.
func TestTemplateIsTheGenerators(t *testing.T) {
	cfg, err := config.Parse([]config.File{{
		Path: "/etc/fugue/web.toml",
		Text: []byte("command = ['/srv/web/server']\n[listen.http]\nstream = '80'\n[install]\nhardening = 'off'\nwanted_by = ['multi-user.target']\n"),
	}}, config.Options{WorkDir: "/"})
	if err != nil {
		t.Fatal(err)
	}
	made, err := units.Make(cfg, units.Options{})
	if err != nil {
		t.Fatal(err)
	}
	template, err := os.ReadFile(tree + "/packaging/fugue@.service")
	if err != nil {
		t.Fatal(err)
	}
	want, got := settings(made[0].Text), settings(strings.ReplaceAll(string(template), "%i", "web"))
	if !slices.Equal(got, want) {
		t.Errorf("packaging/fugue@.service has\n%s\nand the generator writes\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// settings are the lines of a unit, sorted, but for comments, what a template
// cannot know, and the one line in it that the oldest systemd does not.
func settings(unit string) []string {
	var list []string
	for line := range strings.Lines(unit) {
		line = strings.TrimSpace(line)
		key, _, _ := strings.Cut(line, "=")
		if line == "" || line[0] == '#' || slices.Contains([]string{"Documentation", "SourcePath", "TimeoutStopSec", "DelegateSubgroup"}, key) {
			continue
		}
		list = append(list, line)
	}
	slices.Sort(list)
	return list
}
