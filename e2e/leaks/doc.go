// Package leaks holds the promise that nothing stays behind: a real fugue is
// reloaded and robbed of its workers over and over, and in the end has the
// descriptors, children, threads and memory that it had near the beginning. It
// looks at late windows against earlier ones, never at times. Its tests need no
// systemd; FUGUE_TEST_SCALE=1 runs the full counts.
package leaks
