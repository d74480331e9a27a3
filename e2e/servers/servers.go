// Package servers holds no code, only the tests that run servers which know
// nothing of fugue behind a real `fugue run`, as they are packaged: each is
// reloaded under load and every request is counted. What such a server loses by
// its own way of stopping is measured beside it, with no fugue at all, on the
// same machine in the same run: more than that fugue must not lose.
package servers
