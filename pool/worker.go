package pool

import "time"

// State is where a worker is in its life. It only ever moves forward.
type State int

// The states of a worker.
const (
	Starting  State = iota // spawned, or about to be
	Ready                  // said so, or was seen listening
	Available              // ready for MinUptime
	Stopping               // told to stop, or stopping by itself; drains until it exits
)

// String is the word that users see.
func (s State) String() string {
	switch s {
	case Starting:
		return "starting"
	case Ready:
		return "ready"
	case Available:
		return "available"
	case Stopping:
		return "stopping"
	}
	return "unknown"
}

// Why says what a worker is stopped or killed for.
type Why int

// The reasons to end a worker.
const (
	Wanted    Why = iota // it is not being ended
	Surplus              // more of its generation than its target
	NotReady             // not ready within StartTimeout
	Itself               // it said STOPPING=1 by itself
	TimedOut             // did not end within StopTimeout
	Crowded              // more draining workers than max_draining
	Abandoned            // the pool is ended at once
	Orphaned             // its master died, and it was to end with it
	Silent               // it did not send WATCHDOG=1 in time
	Triggered            // it said WATCHDOG=trigger
	Unread               // a connection that it had accepted waited too long to be read
	ByHand               // it was asked for by hand to recycle it
	Aged                 // it lived for MaxAge
	Grown                // it used too much memory
)

// String is the phrase that users see.
func (w Why) String() string {
	switch w {
	case Wanted:
		return "wanted"
	case Surplus:
		return "no longer wanted"
	case NotReady:
		return "not ready in time"
	case Itself:
		return "stopping by itself"
	case TimedOut:
		return "did not stop in time"
	case Crowded:
		return "too many old workers still draining"
	case Abandoned:
		return "stopped at once"
	case Orphaned:
		return "its master died"
	case Silent:
		return "sent no WATCHDOG=1 in time"
	case Triggered:
		return "said WATCHDOG=trigger"
	case Unread:
		return "left an accepted connection unread for too long"
	case ByHand:
		return "recycled"
	case Aged:
		return "recycled at its age"
	case Grown:
		return "recycled for its memory"
	}
	return "unknown"
}

// Hung reports that the worker is taken to hang.
func (w Why) Hung() bool { return w == Silent || w == Triggered || w == Unread }

// Recycled reports that the worker is replaced though it serves well.
func (w Why) Recycled() bool { return w == ByHand || w == Aged || w == Grown }

// Worker is one row of the table.
type Worker struct {
	ID         ID
	Slot       int // from 1: the lowest that was free among all living workers when it was spawned
	Generation Generation
	PID        int // 0 until spawned
	State      State
	Why        Why       // set while Stopping
	Born       time.Time // when its Spawn was handed out
	Since      time.Time // when it entered State
	Leaving    Why       // it is ended for this when another is available in its place; Wanted: it stays

	readyBy   time.Time // when Starting becomes a failure; zero: never
	signalAt  time.Time // when the stop signal is due
	signalled bool      // Stop was handed out, or is not needed
	killAt    time.Time // when SIGKILL is due; zero: never
	killed    bool      // Kill was handed out
	judged    bool      // its exit says nothing new: it was asked for, or its failure is booked

	interval time.Duration // how often it has to be heard of; 0: it is not watched
	aliveBy  time.Time     // when it has to have been heard of, while it is watched
	overdue  bool          // it has not as far as is known
	due      Why           // it is to leave when its turn comes
}

// Draining reports that the worker has had its stop signal.
func (w *Worker) draining() bool { return w.State == Stopping && w.signalled && !w.killed }

// stop moves the worker to Stopping. A worker that never was ready has
// nothing to drain for load balancers, nor does one that hangs: they get their
// signal at once.
func (w *Worker) stop(now time.Time, why Why, l Limits) {
	delay := l.StopDelay
	if w.State == Starting || why.Hung() {
		delay = 0
	}
	w.State, w.Since, w.Why = Stopping, now, why
	w.signalAt = now.Add(delay)
	if why == Itself {
		w.signalled = true
		w.setKill(now, l)
		return
	}
	w.judged = true
}

// timeToEnd is how long the worker has from its signal on; 0: for ever.
func (w *Worker) timeToEnd(l Limits) time.Duration {
	if w.Why.Hung() {
		return l.AbortTimeout
	}
	return l.StopTimeout
}

func (w *Worker) setKill(now time.Time, l Limits) {
	if timeout := w.timeToEnd(l); timeout > 0 {
		w.killAt = now.Add(timeout)
	}
}

// Verb is what an Action asks for.
type Verb int

// The actions.
const (
	Spawn Verb = iota // start a worker; answer with Spawned or SpawnFailed
	Stop              // send the stop signal
	Kill              // SIGKILL, the whole group
)

// String names the verb in logs and recorded stories.
func (v Verb) String() string { return [...]string{"spawn", "stop", "kill"}[v] }

// Action is one intention of the pool, handed out once.
type Action struct {
	Verb       Verb
	ID         ID
	Slot       int
	Generation Generation
	Why        Why // of Stop and Kill
}
