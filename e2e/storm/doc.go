// Package storm holds all promises at once: a pool under a real systemd is
// loaded over TCP, a unix socket and kept connections, every request counted,
// while a random walk reloads, breaks, scales, kills, hands over and restarts
// what it can reach, several things at a time. No request may be lost but those
// that were in a worker which the walk killed or stopped; and whenever the walk
// pauses, the pool must be whole and nothing left over.
//
// FUGUE_STORM is how long the walk goes on (10m), FUGUE_STORM_SEED repeats the
// one of a failure: the same steps in the same order, on another clock.
package storm
