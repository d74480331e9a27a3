package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// commandLine stands for the file in errors about a pool described by flags.
const commandLine = "command line"

// Pos is a place in a file, counted from 1, columns in bytes. What came from a
// flag has the flag as Path ("--workers") and no line.
type Pos struct {
	Path      string
	Line, Col int
}

// String is "path:line:col", or the flag.
func (p Pos) String() string {
	if p.Line == 0 {
		return p.Path
	}
	return fmt.Sprintf("%s:%d:%d", p.Path, p.Line, p.Col)
}

// Error is one thing wrong with the input. A caller that finds one in an error
// (errors.As) exits 78: bad input, nothing changed.
type Error struct {
	Path      string
	Line, Col int
	Msg       string
	Err       error // the cause, where there is one: an errno
}

// Error is one line in the form that editors and CI systems know.
func (e *Error) Error() string {
	return Pos{e.Path, e.Line, e.Col}.String() + ": error: " + e.Msg
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errors is everything that was found wrong, in the order of the files.
type Errors []*Error

// Error has one line for each.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.As find the single errors.
func (e Errors) Unwrap() []error {
	all := make([]error, len(e))
	for i, one := range e {
		all[i] = one
	}
	return all
}

func errorAt(p Pos, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	// A message of several lines would no longer be one error a line.
	msg := strings.ReplaceAll(err.Error(), "\n", " ")
	return &Error{Path: p.Path, Line: p.Line, Col: p.Col, Msg: msg, Err: errors.Unwrap(err)}
}

// sorted returns nil or the errors in the order a reader meets their places:
// file after file as they were read, then the flags.
func (e Errors) sorted(order []string) error {
	if len(e) == 0 {
		return nil
	}
	rank := func(path string) int {
		if i := slices.Index(order, path); i >= 0 {
			return i
		}
		return len(order)
	}
	slices.SortStableFunc(e, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(rank(a.Path), rank(b.Path)), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	})
	return e
}
