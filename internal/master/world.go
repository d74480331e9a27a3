package master

import (
	"context"
	"syscall"

	"fugue/activation"
	"fugue/internal/config"
	"fugue/internal/proc"
	"fugue/internal/release"
	"fugue/pool"
)

// World is all that the loop can do to the outside. The real one is in
// real.go; tests bring their own, with processes that exist only in memory.
// Methods that take time are called beside the loop and say so.
type World interface {
	// Prepare reads the configuration, binds what is missing, makes the
	// release and runs its check. Beside the loop. On an error nothing has
	// changed.
	Prepare(ctx context.Context, current *activation.Set) (*Prepared, error)
	// Start begins a worker's process. launched is called once, with nil
	// when its command runs; exited once, after launched, when it has ended
	// and nothing of its process group is left.
	Start(l Launch, launched func(error), exited func()) (Process, error)
	// Adopt watches a process that is not ours.
	Adopt(pid int, exited func()) (Process, error)
	// Watch looks until the worker waits on one of the sockets, or ctx ends.
	// It returns at once.
	Watch(ctx context.Context, pid int, sockets map[uint64]bool, found func(), note func(string))
	// Tell sends lines to systemd; it never waits.
	Tell(state string)
	// Store puts a socket into systemd's fd store; Unstore takes it out.
	Store(l activation.Listener)
	Unstore(name string)
	// Configure applies what of the configuration concerns the master
	// itself: who may talk to it.
	Configure(c *config.Config)
	// Complaints are what the outside could not do as it should, for status.
	Complaints() []string
	// Job is the job that systemd has for our unit now: "stop", "restart",
	// or empty. Beside the loop.
	Job(ctx context.Context) (string, error)
}

// Prepared is a release that has been shown to be startable.
type Prepared struct {
	Config    *config.Config
	Release   *release.Release
	Candidate *activation.Candidate
	Inbox     string // path of the notify socket that its workers may write to
}

// Launch is one worker to start.
type Launch struct {
	Slot       int
	Generation pool.Generation
	Config     *config.Config
	Release    *release.Release
	Sockets    *activation.Set
	Inbox      string
}

// Process is one child, or one that was adopted.
type Process interface {
	PID() int
	Signal(sig syscall.Signal) error
	KillGroup() error
	// Reap collects the exit status; only after exited was called.
	Reap() (proc.Exit, error)
	// Tail is the end of what the worker wrote to stderr; of one that has
	// ended all of it, for which it may wait as long as ctx. Beside the loop.
	Tail(ctx context.Context, ended bool) []string
}
