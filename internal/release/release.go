// Package release freezes what a worker is made from. Make looks at the machine
// once (links, programs, users, environment files) and everything it found
// stays as it was: a worker that is started again after a deploy, by a rollback
// or by a successor of the master is the one that was started first. What would
// keep every worker from starting is an error of Make, at the place in the
// configuration that says it, before anything old is touched.
package release

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"fugue/internal/config"
)

// firstFD is SD_LISTEN_FDS_START of sd_listen_fds(3).
const firstFD = 3

// Socket is a listener as the workers get it.
type Socket struct {
	Name    string
	Network string // tcp, udp, unix, unixgram
	Address string // as getsockname(2) says: "127.0.0.1:8080", "[::]:80", "/run/x", "@x"
}

// Release is not changed after Make, may be shared freely, and survives a round
// trip through JSON.
type Release struct {
	Pool      string
	Path      string            // what is executed: absolute, no symlinks
	Args      []config.Template // argv as written; only {worker} and {generation} are left
	Dir       string            // absolute, no symlinks
	Env       []config.Variable // each name once; the same placeholders are left
	CheckPath string            // empty: no check
	CheckArgs []config.Template

	UID, GID int   // -1: the master's
	Groups   []int // nil with UID and GID at -1: the master's

	// TmpDirectory is where each worker has a temporary directory of its own:
	// absolute, no symlinks, or config.TmpRuntime; empty: it has none.
	TmpDirectory string

	Umask       int // -1: the master's
	Rlimits     []Rlimit
	Nice        *int // nil: the master's
	OOMScoreAdj *int // nil: the master's
	NoNewPrivs  bool

	// Of the configuration, see config.Limits.
	CapabilityBoundingSet, AmbientCapabilities *config.Capabilities

	Sockets []Socket // in the order of their descriptors, the first is 3

	SocketEnv   []config.Variable // says them in other words than LISTEN_FDS; the check has none
	NoListenEnv bool              // LISTEN_FDS and the like are not said
	StdinSocket bool              // the only one is standard input as well
}

// Rlimit is for setrlimit(2). Resource is RLIMIT_*.
type Rlimit struct {
	Resource int
	Cur, Max uint64
}

// Vars are what differs from worker to worker of a release.
type Vars struct {
	Worker       int // the slot
	Generation   int
	NotifySocket string        // path of the inbox; empty: none
	Watchdog     time.Duration // how often the worker has to say WATCHDOG=1; 0: it need not
}

// Make freezes cfg with the sockets its workers will get, in the order of their
// descriptors. The environment starts from environ (the master's, os.Environ).
// The error is a config.Errors: bad input, nothing changed.
func Make(cfg *config.Config, sockets []Socket, environ []string) (*Release, error) {
	return freeze(cfg, sockets, environ, systemAccounts(), currentSelf())
}

func freeze(cfg *config.Config, sockets []Socket, environ []string, acc accounts, me self) (*Release, error) {
	m := &maker{cfg: cfg, rel: &Release{
		Pool:        cfg.Name,
		Umask:       cfg.Limits.Umask,
		Nice:        cfg.Limits.Nice,
		OOMScoreAdj: cfg.Limits.OOMScoreAdj,
		NoNewPrivs:  cfg.Limits.NoNewPrivs,
		Sockets:     append([]Socket(nil), sockets...),
	}}
	account := m.rights(acc, me)
	m.limits(me)
	m.capabilities(me)
	m.stdin()
	m.directory()
	m.tmpDirectory()
	m.environment(environ, account)
	m.dialects()
	m.rel.Args = m.command()
	m.rel.Path = m.program("command", cfg.Command)
	if len(cfg.Reload.Check) > 0 {
		m.rel.CheckArgs = m.sockets("reload.check", cfg.Reload.Check)
		m.rel.CheckPath = m.program("reload.check", cfg.Reload.Check)
	}
	if len(m.errs) > 0 {
		return nil, m.errs
	}
	return m.rel, nil
}

// maker fills a Release and collects what is wrong.
type maker struct {
	cfg  *config.Config
	rel  *Release
	errs config.Errors
}

func (m *maker) errorf(key, format string, args ...any) {
	m.errs = append(m.errs, m.cfg.Errorf(key, format, args...))
}

// sockets puts in what the placeholders of listeners stand for.
func (m *maker) sockets(key string, words []config.Template) []config.Template {
	out := make([]config.Template, len(words))
	for i, t := range words {
		out[i] = m.expand(key+"["+strconv.Itoa(i)+"]", t)
	}
	return out
}

func (m *maker) expand(key string, t config.Template) config.Template {
	out, err := t.Partly(func(p config.Placeholder) (string, bool, error) {
		if !p.OfListener() {
			return "", false, nil
		}
		v, err := socketValue(m.rel.Sockets, p)
		return v, true, err
	})
	if err != nil {
		m.errorf(key, "%s: placeholder %w", key, err)
	}
	return out
}

// Command is the argv and the environment of one worker; the program is Path.
// LISTEN_PID and WATCHDOG_PID are not in it: only the worker's own process
// knows them, and they belong there where ListenEnv says so, or Watchdog is
// not 0.
func (r *Release) Command(v Vars) (argv, env []string) {
	argv, env = r.fill(r.Args, slices.Concat(r.Env, r.SocketEnv), v)
	if r.ListenEnv() {
		names := make([]string, len(r.Sockets))
		for i, s := range r.Sockets {
			names[i] = s.Name
		}
		env = append(env,
			"LISTEN_FDS="+strconv.Itoa(len(names)),
			"LISTEN_FDNAMES="+strings.Join(names, ":"))
	}
	if v.NotifySocket != "" {
		env = append(env, "NOTIFY_SOCKET="+v.NotifySocket)
	}
	if v.Watchdog > 0 {
		env = append(env, "WATCHDOG_USEC="+strconv.FormatInt(v.Watchdog.Microseconds(), 10))
	}
	return argv, append(env, "FUGUE_WORKER="+strconv.Itoa(v.Worker))
}

// ListenEnv tells whether the worker is to find LISTEN_FDS, and so LISTEN_PID.
func (r *Release) ListenEnv() bool { return len(r.Sockets) > 0 && !r.NoListenEnv }

// Check is the argv and the environment of the check command; the program is
// CheckPath. It is no worker: it gets no sockets, no inbox and no slot, and
// {worker} in the environment is 0.
func (r *Release) Check(generation int) (argv, env []string) {
	return r.fill(r.CheckArgs, r.Env, Vars{Generation: generation})
}

func (r *Release) fill(words []config.Template, vars []config.Variable, v Vars) (argv, env []string) {
	worker, generation := strconv.Itoa(v.Worker), strconv.Itoa(v.Generation)
	value := func(t config.Template) string {
		s, _ := t.Expand(func(p config.Placeholder) (string, error) {
			if p.Kind == "worker" {
				return worker, nil
			}
			return generation, nil // Make has left no others
		})
		return s
	}
	for _, w := range words {
		argv = append(argv, value(w))
	}
	for _, e := range vars {
		env = append(env, e.Name+"="+value(e.Value))
	}
	return argv, append(env, "FUGUE_POOL="+r.Pool, "FUGUE_GENERATION="+generation)
}

// plain takes the path off an error that is said next to what was written
// anyway, unless it is another one: the whole of a relative path, the end of a
// dangling link.
func plain(written string, err error) error {
	var perr *os.PathError
	if !errors.As(err, &perr) {
		return err
	}
	if perr.Path == written {
		return perr.Err
	}
	return fmt.Errorf("%w (%s)", perr.Err, perr.Path)
}
