package main

import (
	"regexp"
	"strings"
)

// blocks cuts Markdown at its empty lines, but for those inside of code.
func blocks(markdown string) []string {
	var all []string
	var block []string
	code := false
	end := func() {
		if len(block) > 0 {
			all = append(all, strings.Join(block, "\n"))
		}
		block = nil
	}
	for line := range strings.Lines(markdown) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			code = !code
		}
		if strings.TrimSpace(line) == "" && !code {
			end()
			continue
		}
		if strings.HasPrefix(line, "#") && !code {
			end()
			all = append(all, line)
			continue
		}
		block = append(block, line)
	}
	end()
	return all
}

// table is the cells of a block that is a table, without the line below its head;
// nil for another block.
func table(block string) [][]string {
	lines := strings.Split(block, "\n")
	if len(lines) < 2 || !strings.HasPrefix(lines[0], "|") || !strings.HasPrefix(lines[1], "|--") {
		return nil
	}
	var cells [][]string
	for i, line := range lines {
		if i == 1 {
			continue
		}
		const pipe = "\x00" // one that is part of a cell's text
		line = strings.ReplaceAll(strings.Trim(strings.TrimSpace(line), "|"), `\|`, pipe)
		row := strings.Split(line, "|")
		for j := range row {
			row[j] = strings.ReplaceAll(strings.TrimSpace(row[j]), pipe, "|")
		}
		cells = append(cells, row)
	}
	return cells
}

var link = regexp.MustCompile(`\[([^\]]+)\]\([^)]+\)`)

var (
	manuals = strings.NewReplacer(
		"CONFIG.md", "fugue.toml(5)", "PROTOCOL.md", "fugue-worker(7)", "SIGNALS.md", "fugue-run(1)",
		"the README", "fugue(1)", "README", "fugue(1)",
	)
	paper = regexp.MustCompile(`(docs/)?\b([A-Z]+\.md)\b`)
)

// unlinked is Markdown without its links: the papers of docs/ that become manual
// pages are called as such, the others are where a package puts them.
func unlinked(markdown string) string {
	return paper.ReplaceAllString(manuals.Replace(link.ReplaceAllString(markdown, "$1")), "/usr/share/doc/fugue/$2")
}

// plainText is Markdown without its marks, for one line of a JSON Schema.
func plainText(markdown string) string {
	return strings.NewReplacer("`", "", "**", "").Replace(unlinked(markdown))
}

// manual makes of a paper's Markdown what go-md2man makes a good page of: tables
// become lists of terms, links their text, headings one level less deep by up.
func manual(markdown string, up int) string {
	var out strings.Builder
	for _, block := range blocks(markdown) {
		cells := table(block)
		switch {
		case strings.HasPrefix(block, "#"):
			level := len(block) - len(strings.TrimLeft(block, "#"))
			title := unlinked(strings.TrimLeft(block, "# "))
			title = strings.NewReplacer("`", "", "[", `\[`, "]", `\]`).Replace(title)
			block = strings.Repeat("#", max(level-up, 1)) + " " + title
			if level-up <= 1 {
				block = "# " + strings.ToUpper(title)
			}
		case cells != nil:
			block = terms(cells)
		case !strings.HasPrefix(block, "```"):
			block = unlinked(block)
		}
		out.WriteString(block + "\n\n")
	}
	return out.String()
}

// terms is a table as a list of terms: each has its first cell, below it the
// others, those of the last column named by its head.
func terms(cells [][]string) string {
	var out strings.Builder
	head := cells[0]
	for _, row := range cells[1:] {
		means := ""
		for i, cell := range row[1:] {
			cell = unlinked(cell)
			switch {
			case cell == "":
			case means == "":
				means = cell
			case i+1 < len(head) && head[i+1] != "" && head[i+1] != "meaning":
				means += ". " + strings.ToUpper(head[i+1][:1]) + head[i+1][1:] + ": " + cell
			default:
				means += ". " + cell
			}
		}
		term := strings.NewReplacer("` `", "`, `", "`[", "`\\[").Replace(link.ReplaceAllString(row[0], "$1"))
		if means == "" {
			means = "as it says"
		}
		out.WriteString(term + "\n: " + means + "\n\n")
	}
	return strings.TrimRight(out.String(), "\n")
}

// section is a paper's part from the heading that is this line, to the next one
// that is not below it; without the heading itself.
func section(markdown, title string) string {
	level := len(title) - len(strings.TrimLeft(title, "#"))
	var out []string
	inside := false
	for _, block := range blocks(markdown) {
		if n := len(block) - len(strings.TrimLeft(block, "#")); n > 0 && n <= level {
			inside = block == title
			continue
		}
		if inside {
			out = append(out, block)
		}
	}
	return strings.Join(out, "\n\n")
}
