// Command gen writes what a package of fugue has besides the program and is made
// from the program's own sources: manual pages from the help texts and from
// docs/, completions of shells, the JSON Schema of the file. Nothing in it is
// written twice: where a paper and the parser disagree about a key, it fails and
// says which row to add.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cpuguy83/go-md2man/v2/md2man"
	"github.com/spf13/cobra"

	"fugue/internal/cli"
	"fugue/internal/config"
)

func main() {
	out := flag.String("out", "dist/share", "directory to write to")
	docs := flag.String("docs", ".", "the source tree")
	version := flag.String("version", "devel", "of the program")
	date := flag.Int64("date", 0, "that manual pages carry, as seconds since 1970")
	flag.Parse()
	if err := run(*out, *docs, *version, time.Unix(*date, 0).UTC()); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(out, docs, version string, date time.Time) error {
	files, err := generate(docs, version, date)
	if err != nil {
		return err
	}
	for name, content := range files {
		path := filepath.Join(out, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// generate makes all files, by their paths below the directory of the output.
func generate(docs, version string, date time.Time) (map[string][]byte, error) {
	text := map[string]string{}
	for _, name := range []string{"README.md", "docs/CONFIG.md", "docs/PROTOCOL.md", "docs/SIGNALS.md"} {
		content, err := os.ReadFile(filepath.Join(docs, name))
		if err != nil {
			return nil, err
		}
		text[filepath.Base(name)] = string(content)
	}
	files := map[string][]byte{}
	schema := config.JSONSchema()
	if err := describe(schema, text["CONFIG.md"]); err != nil {
		return nil, err
	}
	var err error
	if files["fugue.schema.json"], err = json.MarshalIndent(schema, "", "  "); err != nil {
		return nil, err
	}
	root := cli.Tree(version)
	for name, page := range pages(root, text) {
		section := name[len(name)-1:]
		title := strings.TrimSuffix(name, "."+section)
		head := fmt.Sprintf("%% %q %q %q %q %q\n\n", title, section, date.Format("2006-01-02"), "fugue "+version, volumes[section])
		files["man/"+name] = md2man.Render([]byte(head + page))
	}
	return files, completions(root, files)
}

var volumes = map[string]string{"1": "User commands", "5": "File formats", "7": "Miscellaneous"}

// pages are the manual pages in Markdown, by file name.
func pages(root *cobra.Command, text map[string]string) map[string]string {
	keys, _ := rows(text["CONFIG.md"])
	names := []string{"fugue(1)"}
	all := map[string]string{}
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		all[pageName(cmd)+".1"] = commandPage(cmd, keys)
		for _, sub := range shown(cmd) {
			if cmd == root {
				names = append(names, pageName(sub)+"(1)")
			}
			walk(sub)
		}
	}
	walk(root)
	names = append(names, "fugue.toml(5)", "fugue-worker(7)", "systemd.socket(5)")

	all["fugue.1"] += "# EXIT STATUS\n\n" + exits(text["README.md"]) + "\n\n# FILES\n\n" + places
	all["fugue-run.1"] += manual("# SIGNALS\n\n"+section(text["SIGNALS.md"], "## To the master"), 0)
	all["fugue.toml.5"] = "# NAME\n\nfugue.toml \\- what a pool of fugue is\n\n# DESCRIPTION\n\n" +
		manual(strings.TrimPrefix(text["CONFIG.md"], "# Configuration\n"), 1)
	all["fugue-worker.7"] = "# NAME\n\nfugue-worker \\- what a worker of fugue meets\n\n# DESCRIPTION\n\n" +
		manual(section(text["PROTOCOL.md"], "# The worker")+"\n", 1)
	for name := range all {
		see := "# SEE ALSO\n\n"
		if name != "fugue.1" && strings.HasSuffix(name, ".1") {
			see += "fugue(1), fugue.toml(5), fugue-worker(7)\n"
		} else {
			see += strings.Join(names, ", ") + "\n"
		}
		all[name] += see
	}
	return all
}

// exits is the table of exit codes in the README.
func exits(readme string) string {
	for _, block := range blocks(readme) {
		if cells := table(block); cells != nil && cells[0][0] == "exit" {
			return terms(cells)
		}
	}
	return ""
}

const places = "`/etc/fugue/NAME.toml`, `/etc/fugue/NAME.toml.d/*.toml`\n: the pool NAME: fugue.toml(5)\n\n" +
	"`/run/fugue/NAME/`\n: its lock, its control socket, its state\n\n"

// completions adds those of the shells that have a place for them in a package.
func completions(root *cobra.Command, files map[string][]byte) error {
	for name, write := range map[string]func(*bytes.Buffer) error{
		"completions/fugue.bash": func(b *bytes.Buffer) error { return root.GenBashCompletionV2(b, true) },
		"completions/_fugue":     func(b *bytes.Buffer) error { return root.GenZshCompletion(b) },
		"completions/fugue.fish": func(b *bytes.Buffer) error { return root.GenFishCompletion(b, true) },
	} {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			return err
		}
		files[name] = b.Bytes()
	}
	return nil
}
