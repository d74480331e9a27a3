// Package config turns the files and flags of a pool into one value that never
// changes. Reading is strict: an unknown key, a wrong type and an impossible
// combination are errors that name file, line and column, and as many of them
// as can be found are reported at once. Nothing here looks at users, programs or
// sockets: what depends on the machine is checked when a release is made.
package config

import (
	"slices"
	"strings"
	"time"
)

// Infinity is the duration of a timeout that never comes ("infinity").
const Infinity = time.Duration(1<<63 - 1)

// Unlimited is the value of a resource limit that does not limit ("infinity").
const Unlimited = ^uint64(0)

// Config is everything a user can say about a pool, with the defaults filled
// in. It is not changed after Load, may be shared freely, and survives a round
// trip through JSON, positions included: a successor of the master works with
// the configuration of the state and not with that of the file.
type Config struct {
	Name                string // of the pool
	Path                string // of the main file; empty where there were only flags
	Private             string `json:",omitempty"` // a file or directory of it that not everybody may read; empty: there is none
	Command             []Template
	Preset              string    // a server whose ways are known; empty: none
	Dialects            []Dialect // nil: systemd; empty: none
	Directory           string    // absolute, symlinks not resolved
	Workers             int
	WorkersAuto         bool   // Workers was counted from the CPUs
	User                string // name or number; empty: the master's
	Group               string // name or number; empty: the user's
	SupplementaryGroups []string
	Environment         []Variable
	EnvironmentFiles    []EnvironmentFile
	Orphans             Orphans
	WhenEmpty           WhenEmpty
	Stdin               Stdin
	TmpDirectory        string     // absolute, or TmpRuntime; empty: workers have none of their own
	PIDFile             string     // absolute; empty: none
	Watch               []string   // directories, absolute: a change in one is a reload
	Listeners           []Listener // in the order of their file descriptors
	NonBlocking         *bool      // O_NONBLOCK of the sockets whose table does not say, systemd's too; the preset's word
	Reload              Reload
	Ready               Ready
	Stop                Stop
	Restart             Restart
	Watchdog            Watchdog
	Recycle             Recycle
	Limits              Limits
	Log                 Log
	Control             Control
	Install             Install        `json:",omitzero"`
	Systemd             Systemd        `json:",omitzero"`
	Positions           map[string]Pos // of every key that was said; ask Pos
}

// Variable is one entry of the environment table.
type Variable struct {
	Name  string
	Value Template
}

// EnvironmentFile is read each time a release is made.
type EnvironmentFile struct {
	Path     string // absolute
	Optional bool   // written with a leading "-": may be missing
}

// Listener is one [listen.NAME] table. Exactly one of Stream and Datagram is
// set. What a table does not say is nil or zero, so that a socket adopted from
// systemd keeps what its .socket unit says.
type Listener struct {
	Name          string
	Stream        string // as in ListenStream= of systemd.socket(5)
	Datagram      string // as in ListenDatagram=
	Backlog       int
	ReusePort     *bool
	KeepAlive     *bool
	NoDelay       *bool
	DeferAccept   time.Duration
	FreeBind      *bool
	BindIPv6Only  string // "default", "both", "ipv6-only" or empty
	ReceiveBuffer uint64 // bytes
	SendBuffer    uint64 // bytes
	Mode          uint32 // of a unix socket's file
	User          string
	Group         string
	RemoveOnStop  bool // true unless said otherwise for a path: a stale file is a leak
	NonBlocking   *bool
}

// Reload says how a pool moves from one release to the next.
type Reload struct {
	MaxSurge       Amount
	MaxUnavailable Amount
	Canary         int           // workers of the new release that must be available first; 0: none
	Bake           time.Duration // how long the canary is watched on top
	Tolerate       int           // failures of new workers that do not turn the rollout back
	Check          []Template    // run before anything old is touched; empty: no check
	Timeout        time.Duration // of the whole rollout; Infinity: none
}

// Surge is how many workers there may be on top of the wanted number; a
// percentage is rounded up.
func (r Reload) Surge(workers int) int { return r.MaxSurge.of(workers, true) }

// Unavailable is how many of the wanted workers may be missing; a percentage is
// rounded down. Where both numbers come to nothing it is 1, as in Kubernetes,
// because a rollout could not move otherwise.
func (r Reload) Unavailable(workers int) int {
	n := min(r.MaxUnavailable.of(workers, false), workers)
	if n == 0 && r.Surge(workers) == 0 {
		return 1
	}
	return n
}

// Orphans is what workers do when their master dies, by SIGKILL or otherwise.
type Orphans string

// The values of orphans.
const (
	OrphansDefault Orphans = ""     // keep where systemd starts another master, stop elsewhere
	OrphansKeep    Orphans = "keep" // they serve on, for another master to take over
	OrphansStop    Orphans = "stop" // they get the stop signal from the kernel
)

// TmpRuntime is the tmp_directory that is in the pool's runtime directory.
const TmpRuntime = "runtime"

// Stdin is what workers have as standard input.
type Stdin string

// The values of stdin.
const (
	StdinDefault Stdin = ""     // null, unless the preset knows better
	StdinNull    Stdin = "null" // /dev/null
	StdinSocket  Stdin = "socket"
)

// WhenEmpty is what becomes of a pool none of whose workers is left.
type WhenEmpty string

// The values of when_empty. A state of an older program has none: hold.
const (
	EmptyHold   WhenEmpty = "hold"   // connections wait until a worker has come up
	EmptyRefuse WhenEmpty = "refuse" // connections are refused until one is started
	EmptyExit   WhenEmpty = "exit"   // the master ends
)

// When is what makes a worker ready.
type When string

// The values of [ready] when.
const (
	WhenAuto      When = "auto"      // the first of notify and listening
	WhenNotify    When = "notify"    // READY=1 of sd_notify(3)
	WhenListening When = "listening" // seen to wait on one of the pool's sockets
	WhenStarted   When = "started"   // Delay after the start
)

// Ready says when a worker counts as ready, and how long that may take.
type Ready struct {
	When    When
	Delay   time.Duration
	Timeout time.Duration // Infinity: for ever
}

// Stop says how a worker is ended.
type Stop struct {
	Delay       time.Duration // keeps serving first, for load balancers
	Signal      int
	Timeout     time.Duration // after the signal; then SIGKILL. Infinity: never
	MaxDraining int           // 0: any number
}

// Restart says how soon a worker that failed is started again.
type Restart struct {
	MinUptime  time.Duration // ready for so long is available
	Backoff    time.Duration // before the second attempt
	MaxBackoff time.Duration
}

// Watchdog says how a worker that hangs is found, and what becomes of it.
type Watchdog struct {
	Timeout      time.Duration // it has to say WATCHDOG=1 so often while it is ready; 0: it need not
	Signal       int           // that ends it
	KillAfter    time.Duration // after the signal; then SIGKILL. Infinity: never
	Stuck        time.Duration // it may leave an accepted connection unread for so long; 0: for ever
	ReplaceFirst bool          // another has to be available before it is ended
}

// Recycle says when a worker that serves well is replaced all the same.
type Recycle struct {
	MaxAge    time.Duration // since its start; Infinity: never
	MaxMemory uint64        // bytes of its process group, proportional set size; 0: any
}

// Limits are set in the worker before its program runs.
type Limits struct {
	Rlimits     []Rlimit
	Umask       int  // -1: as it is
	Nice        *int // nil: as it is
	OOMScoreAdj *int // nil: as it is
	NoNewPrivs  bool
	// CapabilityBoundingSet is all that a worker, or what it executes, can
	// ever have; nil: what the master can.
	CapabilityBoundingSet *Capabilities
	// AmbientCapabilities are those that a worker has whatever its user; nil:
	// none for another user than the master's, else the master's.
	AmbientCapabilities *Capabilities

	// Cgroup is whether a worker has a cgroup of its own; nil: where the unit
	// is delegated. What follows is set in it.
	Cgroup     *bool  `json:",omitempty"`
	MemoryMax  uint64 `json:",omitempty"` // bytes, as MemoryHigh; 0: not limited. Unlimited: said to be so
	MemoryHigh uint64 `json:",omitempty"`
	TasksMax   uint64 `json:",omitempty"` // processes and threads, in the same way
	CPUWeight  int    `json:",omitempty"` // 0: the kernel's, 100
}

// Rlimit is one limit of setrlimit(2).
type Rlimit struct {
	Name     string // as in the file: "nofile"
	Resource int    // RLIMIT_NOFILE
	Soft     uint64
	Hard     uint64
}

// Control says who may talk to the master besides root and its own user.
type Control struct {
	Group   string
	Readers string // a group that may only look
}

func defaults() *Config {
	return &Config{
		Workers:   1,
		WhenEmpty: EmptyHold,
		Reload: Reload{
			MaxSurge: Amount{Value: 1},
			Canary:   1,
			Timeout:  5 * time.Minute,
		},
		Ready:     Ready{When: WhenAuto, Timeout: 90 * time.Second},
		Stop:      Stop{Signal: 15, Timeout: 30 * time.Second},
		Restart:   Restart{MinUptime: time.Second, Backoff: 100 * time.Millisecond, MaxBackoff: 30 * time.Second},
		Watchdog:  Watchdog{Signal: 6},
		Recycle:   Recycle{MaxAge: Infinity},
		Limits:    Limits{Umask: -1},
		Log:       Log{ReopenSignal: 10},
		Install:   Install{Hardening: HardeningDefault, RunAs: RunAsAuto},
		Positions: map[string]Pos{},
	}
}

// Speaks tells whether workers are told of their sockets in this way.
func (c *Config) Speaks(d Dialect) bool {
	if c.Dialects == nil {
		return d == DialectSystemd
	}
	return slices.Contains(c.Dialects, d)
}

// Pos is where a key was said: "workers", "listen.http.stream", "command[1]",
// "environment.PATH". For a key that was left to its default it is the nearest
// table around it, at last the beginning of the main file.
func (c *Config) Pos(key string) Pos {
	for key != "" {
		if p, ok := c.Positions[key]; ok {
			return p
		}
		key = key[:max(strings.LastIndexAny(key, ".["), 0)]
	}
	if c.Path == "" {
		return Pos{Path: commandLine}
	}
	return Pos{Path: c.Path, Line: 1, Col: 1}
}

// Errorf is an error at the position of a key, for what shows to be wrong only
// later: a missing program, an address that is taken. It wraps what %w names.
func (c *Config) Errorf(key, format string, args ...any) *Error {
	return errorAt(c.Pos(key), format, args...)
}
