// Package examples holds no code, only the tests of examples/: each app is run as
// its README says, on the real servers, answers, is reloaded and stopped; and what
// the package for node owes to those who used the old fugue.
package examples
