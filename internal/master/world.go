package master

import (
	"context"
	"syscall"

	"github.com/sirupsen/logrus"

	"fugue/activation"
	"fugue/internal/config"
	"fugue/internal/proc"
	"fugue/internal/release"
	"fugue/internal/systemd"
	"fugue/internal/unread"
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
	// Start makes a worker's process, which waits for its Proceed: a master
	// that dies in between leaves nothing behind. launched is called once, with nil
	// when its command runs; exited after launched, when it has ended and
	// nothing of its process group is left. Where Reap says that something is
	// (proc.ErrLingers), exited is called once more.
	Start(l Launch, launched func(error), exited func()) (Process, error)
	// Adopt takes up a process that this image did not start. With a memo it
	// must be the one that the memo is of. What goes wrong with it later is said
	// to log.
	Adopt(log *logrus.Entry, pid int, memo Memo, exited func()) (Process, error)
	// Watch looks until the worker waits on one of the sockets, or ctx ends.
	// It returns at once.
	Watch(ctx context.Context, pid int, sockets map[uint64]bool, found func(), note func(string))
	// Sync asks the inboxes for a message marked notify.Synced each, when what is
	// in them now has been reported; it returns how many will come.
	Sync() int
	// Unread finds workers that leave connections unread. Beside the loop.
	Unread(look UnreadLook) ([]unread.Held, error)
	// Memory is what workers use with all that they have started, by process ID;
	// with each its cgroup, if it has one. Beside the loop.
	Memory(cgroups map[int]string) map[int]Weight
	// Tell sends lines to systemd; it never waits.
	Tell(state string)
	// Store puts a socket into systemd's fd store; Unstore takes it out.
	Store(l activation.Listener)
	Unstore(name string)
	// Configure applies what of the configuration concerns the master
	// itself: who may talk to it.
	Configure(c *config.Config)
	// Reopen opens the log files again that this process writes to. Beside
	// the loop.
	Reopen(holders map[pool.ID]Holder) Reopened
	// Complaints are what the outside could not do as it should, for status.
	Complaints() []string
	// Orphaned reports whether the workers of a configuration end with their
	// master.
	Orphaned(c *config.Config) bool
	// Fate is what systemd is doing to our unit. Beside the loop.
	Fate(ctx context.Context) (systemd.Fate, error)

	// Save writes the state where a successor finds it: what is new in it,
	// behind what was written before, or the whole, where that is time or
	// nothing is said to be new.
	Save(news []byte, whole func() ([]byte, error)) error
	// Rehearse lets the program now on disk read the state. Beside the loop.
	Rehearse(ctx context.Context, state []byte) error
	// Depart stops hearing callers and workers: what they say from now on
	// waits for the next image. Beside the loop.
	Depart(ctx context.Context)
	// Signals takes the last signals; after it they wait, too.
	Signals() []proc.Signal
	// Pass is what crosses the exec, for these processes and sockets.
	Pass(processes []Process, held *activation.Set) (*savedExec, error)
	// Exec replaces this image by the program now on disk. It returns only if
	// that fails.
	Exec() error
	// Return takes back Depart, Signals and Pass.
	Return()
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
	// Memo is what a successor needs to find the process again.
	Memo() Memo
	// Proceed lets a process that was started run its command.
	Proceed()
	Signal(sig syscall.Signal) error
	KillGroup() error
	// Reap collects the exit status; only after exited was called.
	Reap() (proc.Exit, error)
	// Tail is the end of what the worker wrote to stderr; of one that has
	// ended all of it, for which it may wait as long as ctx. Beside the loop.
	Tail(ctx context.Context, ended bool) []string
}
