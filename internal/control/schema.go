package control

import (
	"encoding/json"
	"time"
)

// The schema is a promise: keys are snake_case and are only ever added. Times
// are RFC 3339; durations are whole microseconds under a key that ends in
// _usec; sizes are bytes; lists are never null.

// What a pool can be doing, in Status.State.
const (
	StateStarting  = "starting"
	StateRunning   = "running"
	StateReloading = "reloading"
	StateDegraded  = "degraded"
	StateStopping  = "stopping"
	StateEmpty     = "empty" // no workers on request (SIGWINCH); the sockets are kept
)

// What a worker can be doing, in Worker.State.
const (
	WorkerStarting  = "starting"
	WorkerReady     = "ready"
	WorkerAvailable = "available" // ready for min_uptime
	WorkerStopping  = "stopping"
)

// How far a change is, in Change.State.
const (
	ChangeWaiting = "waiting"
	ChangeRunning = "running"
	ChangeDone    = "done"
)

// How a change ended, in Change.Outcome.
const (
	OutcomeOK        = "ok"
	OutcomeUndone    = "undone"    // tried, failed, and what served before serves
	OutcomeRefused   = "refused"   // nothing was touched
	OutcomeCancelled = "cancelled" // undone because somebody asked
	OutcomeStuck     = "stuck"     // going back failed too
	OutcomeFailed    = "failed"
)

// Status is all there is to know about a pool at one moment.
type Status struct {
	Pool       string     `json:"pool"`
	Version    string     `json:"version"` // of the master
	PID        int        `json:"pid"`     // of the master
	Unit       string     `json:"unit"`    // the systemd unit it runs in, or ""
	Config     string     `json:"config"`  // path of the config file, or ""
	State      string     `json:"state"`
	Reason     string     `json:"reason"` // why it is degraded, one line
	Generation int        `json:"generation"`
	Wanted     int        `json:"wanted"`
	Ready      int        `json:"ready"` // workers that are ready or available
	Since      time.Time  `json:"since"` // when State last changed
	Workers    []Worker   `json:"workers"`
	Listeners  []Listener `json:"listeners"`
	Change     *Change    `json:"change"`  // the running one, else the last; null before the first
	Waiting    *Change    `json:"waiting"` // the reload that starts after this change
	Notes      []string   `json:"notes"`
	Strangers  int        `json:"strangers"` // datagrams and requests dropped for who sent them
}

// Worker is one living worker, or a slot that waits for its next one (PID 0).
type Worker struct {
	Slot       int       `json:"slot"`
	PID        int       `json:"pid"`
	Generation int       `json:"generation"`
	State      string    `json:"state"`
	Since      time.Time `json:"since"`    // when it was started
	Restarts   int       `json:"restarts"` // of its slot
	RSS        uint64    `json:"rss"`      // bytes
	CPU        Micros    `json:"cpu_usec"` // user and system time
	// Memory is what recycle.max_memory is held against, in bytes, as of the
	// last sample: of the worker with all that it has started. MemoryFrom is
	// "cgroup" or "pss"; empty: nothing was measured, because nothing is bounded.
	Memory     uint64 `json:"memory"`
	MemoryFrom string `json:"memory_from"`
	Status     string `json:"status"`    // its own STATUS=
	LastExit   string `json:"last_exit"` // how the one before it in the slot ended
	Note       string `json:"note"`
}

// Listener is one socket that the workers share.
type Listener struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	Network string `json:"network"` // tcp, udp, unix, unixgram
	Origin  string `json:"origin"`  // systemd, store, own
	FD      int    `json:"fd"`      // its number in a worker
	Queue   int    `json:"queue"`   // connections that no worker has accepted yet
	Limit   int    `json:"limit"`   // how many may wait; 0 where there is no such limit
	Note    string `json:"note"`
}

// Change is something asked of the pool, with its verdict once it is done.
type Change struct {
	Number  int    `json:"number"`
	Kind    string `json:"kind"`    // start, reload, scale, recycle, upgrade, stop, cancel
	State   string `json:"state"`   // waiting, running, done
	Outcome string `json:"outcome"` // "" until done
	Exit    int    `json:"exit"`    // the exit code for whoever asked
	// Message is the verdict as a sentence: "generation 7 serves (4 workers,
	// 2.3s)", "reload undone: worker 3 (pid 123) of generation 8 exited with
	// status 1 before it was ready; generation 7 serves". Where the input was
	// bad it can have several lines, those about a file of the form
	// path:line:col: error: text.
	Message string    `json:"message"`
	Details []string  `json:"details"` // lines to show below it: the last of the failed worker's stderr
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"`
}

// Event is something that happened to a pool.
type Event struct {
	Seq        int       `json:"seq,omitempty"` // its number, one more than that of the event before; 0 in the streams of changes
	Time       time.Time `json:"time"`
	Kind       string    `json:"kind"` // spawned, ready, available, exited, stopping, killed, change, progress, reopened, lost, …
	Slot       int       `json:"slot,omitempty"`
	PID        int       `json:"pid,omitempty"`
	Generation int       `json:"generation,omitempty"`
	Text       string    `json:"text,omitempty"`
	Change     *Change   `json:"change,omitempty"`
	Progress   *Progress `json:"progress,omitempty"`
}

// Progress is how far a rollout is.
type Progress struct {
	Phase      string `json:"phase"` // preparing, canary, baking, rolling, rolling-back
	Generation int    `json:"generation"`
	Wanted     int    `json:"wanted"`
	Ready      int    `json:"ready"`
	Available  int    `json:"available"`
	Old        int    `json:"old"` // workers of other generations that still serve
}

// ReloadRequest is the body of POST /reload.
type ReloadRequest struct {
	Now    bool `json:"now"`            // cancel the rollout that runs
	NoWait bool `json:"no_wait"`        // be refused as busy rather than wait behind a rollout that runs
	Unit   bool `json:"unit,omitempty"` // asked in ExecReload=: systemd knows already that the unit reloads
}

// ScaleRequest is the body of POST /scale.
type ScaleRequest struct {
	N        int  `json:"n"`
	Relative bool `json:"relative"` // N is added to the wanted number
}

// RecycleRequest is the body of POST /recycle.
type RecycleRequest struct {
	Slots []int `json:"slots"` // of the workers to be replaced; none: all
}

// JobRequest is the body of POST /job.
type JobRequest struct {
	Fate string `json:"fate"` // what becomes of the pool: stop, or restart
	// Workers live on until another master takes over: KillMode=process.
	Leave bool `json:"leave"`
}

// VersionReply is the answer to GET /version.
type VersionReply struct {
	Version string `json:"version"`
	Pool    string `json:"pool"`
}

// ErrorReply is the body of every answer that is not a success.
type ErrorReply struct {
	Error string `json:"error"`
	Exit  int    `json:"exit"` // the exit code that a command line gives for it
}

// Micros is a duration that is whole microseconds in JSON.
type Micros time.Duration

// MarshalJSON writes the number of whole microseconds.
func (m Micros) MarshalJSON() ([]byte, error) {
	return json.Marshal(time.Duration(m).Microseconds())
}

// UnmarshalJSON reads a number of microseconds.
func (m *Micros) UnmarshalJSON(b []byte) error {
	var n int64
	if err := json.Unmarshal(b, &n); err != nil {
		return err
	}
	*m = Micros(time.Duration(n) * time.Microsecond)
	return nil
}

// whole returns s with empty lists where it has none.
func (s Status) whole() Status {
	s.Workers = list(s.Workers)
	s.Listeners = list(s.Listeners)
	s.Notes = list(s.Notes)
	s.Change = s.Change.whole()
	s.Waiting = s.Waiting.whole()
	return s
}

func (c *Change) whole() *Change {
	if c == nil {
		return nil
	}
	w := *c
	w.Details = list(c.Details)
	return &w
}

func (e Event) whole() Event {
	e.Change = e.Change.whole()
	return e
}

func list[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}
