// Package control is the control socket of a pool: HTTP/1.1 and JSON on a unix
// socket. One master holds a pool's directory at a time; only those whom the
// kernel names as permitted get an answer, and never a worker; whoever hangs,
// floods or sends garbage costs the others nothing. The schema only grows.
package control

import "context"

// Pool is what a master offers on its socket. Every method may be called from
// any goroutine. An *Error decides what the caller's command exits with.
type Pool interface {
	Status(ctx context.Context) (Status, error)
	Reload(ctx context.Context, r ReloadRequest) (Ticket, error)
	Cancel(ctx context.Context) (Ticket, error)
	Scale(ctx context.Context, r ScaleRequest) (Ticket, error)
	Recycle(ctx context.Context, r RecycleRequest) (Ticket, error)
	Upgrade(ctx context.Context) (Ticket, error)
	Stop(ctx context.Context) (Ticket, error)
	// Job ends the master as it fits what systemd is doing to its unit, for
	// one that may not ask systemd itself.
	Job(ctx context.Context, r JobRequest) (Ticket, error)
	// Change tells of one change, or ErrNotFound.
	Change(ctx context.Context, number int) (Change, error)
	// Events follows the pool until ctx ends or the channel closes, which
	// means that the master goes. A slow reader loses events and is told how
	// many by one of kind "lost"; the sender never waits.
	// Events follows the pool from now on, or from behind the event with a
	// number; -1 is from now.
	Events(ctx context.Context, after int) (Ticket, error)
}

// Ticket is a change that was accepted. Events closes after the event that
// carries the change done, or when the caller's context ends: leaving cancels
// nothing. The sender never waits for the reader, and may drop all but the last.
type Ticket struct {
	Change int
	Events <-chan Event
	Last   int // the number of the last event before those that are still to come
}
