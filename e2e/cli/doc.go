// Package cli holds no code, only the tests of fugue as a person meets it
// without systemd: the real binary, real workers, and everything that can be
// said to it wrongly. What it answers and how it exits is checked, and that the
// pool that runs meanwhile is not touched.
package cli
