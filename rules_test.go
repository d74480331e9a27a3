package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strings"
	"testing"
)

// Whoever reads docs/DESIGN.md first finds each package in its picture of the
// house, alone or with the one that it is part of.
func TestTheHouseIsDrawn(t *testing.T) {
	text, err := os.ReadFile("docs/DESIGN.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "```text\n")
	house, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("docs/DESIGN.md has no picture of the house")
	}
	drawn := regexp.MustCompile(`(?m)^(\S+)/ `).FindAllStringSubmatch(house, -1)
	for pkg := range imports {
		known := pkg == ""
		for _, d := range drawn {
			known = known || pkg == d[1] || strings.HasPrefix(pkg, d[1]+"/")
		}
		if !known {
			t.Errorf("docs/DESIGN.md does not have %s in its picture of the house", pkg)
		}
	}
}

const longestFile = 400

func TestFilesStayShort(t *testing.T) {
	eachFile(t, func(path string) {
		if strings.HasSuffix(path, "_test.go") {
			return
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, nil, parser.ParseComments)
		if err != nil {
			t.Error(err)
			return
		}
		if ast.IsGenerated(file) {
			return
		}
		if n := files.Position(file.FileEnd).Line; n > longestFile {
			t.Errorf("%s has %d lines, at most %d: one idea a file", path, n, longestFile)
		}
	})
}

// Only launch may act before main: an init elsewhere runs in every child too,
// before it becomes the worker, and with the master's rights. That of main.go
// comes after all others and says which thread main is on.
func TestNoInit(t *testing.T) {
	eachFile(t, func(path string) {
		if strings.HasSuffix(path, "_test.go") || strings.HasPrefix(path, "internal/launch/") || path == "main.go" {
			return
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Error(err)
			return
		}
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s: an init function", path)
			}
		}
	})
}

// A test that is skipped says nothing. The one way to skip is e2e's, which is not
// open where FUGUE_E2E=required.
func TestTestsDoNotSkip(t *testing.T) {
	skips := regexp.MustCompile(`\.(Skip|Skipf|SkipNow)\(`)
	eachFile(t, func(path string) {
		if !strings.HasSuffix(path, "_test.go") || path == "rules_test.go" || strings.HasPrefix(path, "e2e/") {
			return
		}
		for line, text := range lines(t, path) {
			if skips.MatchString(text) {
				t.Errorf("%s:%d: skips: %s", path, line+1, strings.TrimSpace(text))
			}
		}
	})
}

func lines(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(string(text), "\n")
}
