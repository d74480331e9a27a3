package control

import (
	"errors"
	"fmt"
	"net/http"
)

// The exit codes of every fugue command.
const (
	ExitOK         = 0
	ExitFailed     = 1
	ExitUsage      = 2
	ExitNotRunning = 3  // the pool is known but not running
	ExitNoPool     = 4  // no such pool
	ExitUndone     = 5  // refused or undone; what served before serves
	ExitDegraded   = 6  // of status
	ExitNoAnswer   = 69 // the control socket did not answer (EX_UNAVAILABLE)
	ExitBusy       = 75 // another change runs (EX_TEMPFAIL)
	ExitDenied     = 77 // not permitted (EX_NOPERM)
	ExitBadInput   = 78 // nothing changed (EX_CONFIG)
)

// ErrNotFound is the answer for a change that is not among those kept.
var ErrNotFound = errors.New("no such change: the last 16 are kept")

// Error is an error with the exit code that a command gives for it.
type Error struct {
	Exit int
	Err  error
}

// Errorf words an Error; %w wraps as in fmt.Errorf.
func Errorf(exit int, format string, args ...any) *Error {
	return &Error{Exit: exit, Err: fmt.Errorf(format, args...)}
}

func (e *Error) Error() string { return e.Err.Error() }

func (e *Error) Unwrap() error { return e.Err }

// exitOf is the exit code for any error: its own, else 1.
func exitOf(err error) int {
	var e *Error
	if errors.As(err, &e) && e.Exit != ExitOK {
		return e.Exit
	}
	return ExitFailed
}

// httpStatus is the HTTP status that stands for an error of a Pool.
func httpStatus(err error) int {
	if errors.Is(err, ErrNotFound) {
		return http.StatusNotFound
	}
	switch exitOf(err) {
	case ExitUsage:
		return http.StatusBadRequest
	case ExitNoPool:
		return http.StatusNotFound
	case ExitUndone, ExitBusy:
		return http.StatusConflict
	case ExitNoAnswer:
		return http.StatusServiceUnavailable
	case ExitDenied:
		return http.StatusForbidden
	case ExitBadInput:
		return http.StatusUnprocessableEntity
	}
	return http.StatusInternalServerError
}
