// Package launch is what runs in a child between the fork and the user's
// command: it knows its own process ID, so it can say LISTEN_PID, and it alone
// may set limits and give up rights without touching the master.
//
// This is the shim that is always there: fugue itself, executed once more. It
// costs the start of a Go runtime, so that most workers are started by what
// package elf makes of the same plan, and this one remains for machines and
// systems where that is not allowed.
//
// It acts in init, before the packages that fill a binary have initialised,
// and only where the environment holds nothing but [Variable]. For that it
// imports only syscall, which initialises before almost everything. Nothing of
// the user's (environment, directory, limits) acts on the master's image while
// it still has the master's rights: the plan comes through a descriptor and
// takes effect at the exec. Every step that fails is reported by name.
//
// The other thing that cannot be soon enough is here too: a master that was not
// born with its signals blocked starts itself anew.
package launch

// A Plan is everything that happens to a worker after its fork. The zero value
// is not useful: Umask, UID and GID are left alone at -1.
type Plan struct {
	// Path is executed as it stands, without a search in PATH; it should be
	// absolute, as Dir is entered first.
	Path string
	// Args is the whole argv, Args[0] included.
	Args []string
	// Env is the worker's whole environment: nothing is inherited.
	Env []string
	// Dir is entered with the worker's rights; "" is the master's directory.
	Dir string

	// ListenPID adds LISTEN_PID=<own process ID>, as sd_listen_fds(3) demands.
	ListenPID bool
	// WatchdogPID adds WATCHDOG_PID=<own process ID>, see sd_watchdog_enabled(3).
	WatchdogPID bool

	Umask int // -1: the master's
	// Rlimits are set before rights are given up, so that a root master can
	// raise hard limits for a worker that has no rights.
	Rlimits     []Rlimit
	Nice        *int // nil: the master's
	OOMScoreAdj *int // -1000 to 1000; nil: the master's

	NoNewPrivs bool
	UID, GID   int // -1: the master's
	// Groups replaces the supplementary groups whenever UID or GID is set:
	// nil then means none, never root's. A master that is not root and keeps
	// its own UID cannot change them; there nil leaves them.
	Groups []int
	// Capabilities, nil: those that the user has by itself, and the master's
	// ambient ones unless that user is another.
	Capabilities *Capabilities

	// Held: the command is not executed before somebody writes a byte to the
	// other end of the report, which is a socket then. When that end is closed
	// first, it never is: a master that dies leaves no worker behind that it
	// has not written down.
	Held bool

	// DeathSignal is sent by the kernel when the thread ends that started the
	// process, PR_SET_PDEATHSIG of prctl(2): so that must be the master's main
	// thread. 0: none.
	DeathSignal int

	// Journal gives the worker journal streams of its own instead of the
	// standard output and error that it was started with.
	Journal *Journal
	// Stdout and Stderr are absolute paths of log files, which the worker opens
	// with its own rights, to append: a link as the last part of the path, and
	// anything but a regular file, is an error. "": what it was started with.
	Stdout, Stderr string
}

// An Rlimit is one resource limit, see setrlimit(2). Resource is RLIMIT_*.
type Rlimit struct {
	Resource int
	Cur, Max uint64
}

// A Journal names the streams of one worker, see sd_journal_stream_fd(3). The
// worker connects itself, so that journald files its output under its own
// _PID and unit, with or without the master. Standard output has priority info,
// standard error warning; lines that begin with <N> say their own.
type Journal struct {
	Path       string // journald's stream socket; "" is /run/systemd/journal/stdout
	Identifier string // SYSLOG_IDENTIFIER
	// Unit is what the lines are filed under where journald cannot see it any
	// more, because the worker has died at once. Believed of root alone.
	Unit string
	// Only is 1 for standard output alone, 2 for standard error alone.
	Only int
}

// Variable is the environment variable that makes a process the shim: the
// numbers of the descriptors that hold the plan and take the report.
const Variable = "FUGUE_LAUNCH"

// Environ is the whole environment of a shim. Descriptors from plan upwards
// are kept from the worker, so plan must be the first after the worker's own.
func Environ(plan, report int) []string {
	return []string{Variable + "=" + itoa(plan) + "," + itoa(report)}
}

// rlimitNames are the names of limits.conf(5) and systemd.exec(5), by number.
// The numbers are those of amd64 and arm64.
var rlimitNames = [...]string{"cpu", "fsize", "data", "stack", "core", "rss", "nproc", "nofile",
	"memlock", "as", "locks", "sigpending", "msgqueue", "nice", "rtprio", "rttime"}

// RlimitName is how a limit is called in a message.
func RlimitName(resource int) string {
	if resource >= 0 && resource < len(rlimitNames) {
		return rlimitNames[resource]
	}
	return itoa(resource)
}

// itoa stands in for strconv, which this package does without.
func itoa(n int) string {
	if n < 0 {
		return "-" + utoa(uint64(-n))
	}
	return utoa(uint64(n))
}

func utoa(n uint64) string {
	var b [20]byte
	i := len(b)
	for {
		i--
		b[i] = byte('0' + n%10)
		if n /= 10; n == 0 {
			return string(b[i:])
		}
	}
}
