// Package master is the loop: a fact comes in, the house settles, it waits.
//
// One goroutine owns everything here: the pool, the rollout, the releases,
// the changes under way. Whatever happens outside reaches it as a fact on
// one channel; handlers of facts change facts, and only settling spawns,
// signals or closes. Nothing in the loop waits: what takes time is a job
// beside it, whose end is a fact.
package master

import (
	"context"
	"os"
	"time"

	"github.com/sirupsen/logrus"

	"fugue/internal/config"
	"fugue/internal/release"

	"fugue/activation"
	"fugue/pool"
	"fugue/reload"
)

// Options are what a master is started with and never changes.
type Options struct {
	Name    string // of the pool
	Version string // of the program, for status
	Unit    string // of systemd that runs it; empty: none does
	Log     *logrus.Logger
	// Watchdog is how often systemd wants to hear from us (WATCHDOG_USEC of
	// sd_watchdog_enabled(3)); 0: never.
	Watchdog time.Duration
	Clock    Clock // nil: nothing is written down for a successor
}

// fact is something that happened. Applying it changes what the master
// knows and nothing outside.
type fact interface {
	apply(m *Master, now time.Time)
}

// Master is one running pool. Make one with New and give it its life with
// Run.
type Master struct {
	opts  Options
	log   *logrus.Logger
	world World

	facts chan fact
	ended chan struct{} // closed when the loop is over: nobody listens to facts any more

	pool        *pool.Pool
	rollout     *reload.Rollout // nil: none
	generations map[pool.Generation]*generation
	current     pool.Generation   // the one that serves, or is meant to
	leftovers   []pool.Generation // ready workers of a rollout that got stuck
	last        pool.Generation   // the highest number given out

	sockets *activation.Set

	spawns    []pool.Action // workers still to be started, a few in each turn
	held      []*worker     // processes that run nothing yet
	signals   []pool.Action // stops and kills that are decided
	workers   map[pool.ID]*worker
	strangers map[int]*stranger
	lastPIDs  lastPIDs
	slots     map[int]*slotPast
	obits     obituaries
	syncing   syncing
	reading   reading
	weighing  weighing

	wanted     int  // workers asked for by the file or a scale
	fileWanted int  // what the file said at its last reading
	paused     bool // WINCH: none, until a reload or a scale
	upSince    time.Time
	everReady  bool   // READY=1 has been sent
	stuck      string // why going back failed; until a rollout succeeds
	refusing   refusing
	perished   *pool.Failure // the last of the workers, once the master is to end for it
	scaleBase  int           // failures there had been when the scale under way began

	changes    changes
	recycling  recycling
	preparing  *preparation       // the job that reads the file, binds and checks
	handing    *handing           // the handover under way; nil: none
	rehearsal  context.CancelFunc // of the job that lets another program read the state; nil: none runs
	departing  bool               // Depart is under way
	reopening  bool               // the job that opens log files again runs
	reopenDone *reopened          // and what it has found, still to be told
	// reopenAsked: they are to be opened, here or by the next image.
	reopenAsked bool
	tailing     int     // jobs that look for a worker's last lines
	ending      *ending // nil: not stopping
	exit        error   // what Run returns

	scribe       *scribe    // nil: nothing is written down
	unsaved      string     // why the state could not be written
	exec         *savedExec // during the exec itself
	afterRestart *change    // the reload that is the second half of a restart; nil: none
	unusable     string     // why what a predecessor wrote down was of no use
	storeShort   string     // what is wrong with systemd's fd store
	done         []*change  // concluded, and nobody has been told
	answers      []chan struct{}

	events    hub
	published published
	dropped   int       // datagrams and requests of strangers
	dropSaid  time.Time // when the log was last told of one
}

// generation is one release in the pool and all that it was made with.
type generation struct {
	config    *config.Config
	release   *release.Release
	candidate *activation.Candidate
	sockets   *activation.Set
	inodes    map[uint64]bool // of the sockets
	inbox     string

	before, asked numbers // of workers: before its reload, and as that read them; the same again once it has turned back
}

// numbers of workers: the wanted one, and what the file said at its last
// reading. A scaled number lasts until the file says another.
type numbers struct {
	Wanted int `json:"wanted"`
	File   int `json:"file"`
}

// New makes a master; nothing happens before Run.
func New(opts Options, world World) *Master {
	return &Master{
		opts: opts, log: opts.Log, world: world,
		facts: make(chan fact), ended: make(chan struct{}),
		pool:        pool.New(),
		generations: map[pool.Generation]*generation{},
		workers:     map[pool.ID]*worker{},
		strangers:   map[int]*stranger{},
		slots:       map[int]*slotPast{},
		events:      hub{},
	}
}

// Report hands a fact to the loop; after the loop has ended it does nothing.
// It may be called from any goroutine but the loop's own.
func (m *Master) report(f fact) {
	select {
	case m.facts <- f:
	case <-m.ended:
	}
}

// Run starts the pool, or goes on with what it inherits, and serves until it
// is stopped.
func (m *Master) Run(ctx context.Context, in Inheritance) error {
	defer close(m.ended)
	m.upSince = time.Now()
	if m.opts.Clock != nil {
		m.scribe = newScribe(m.header(), newDial(m.opts.Clock))
	}
	m.unusable = in.Unusable
	m.adoptStrangers(in.Strangers)
	if in.State != nil {
		m.restore(m.upSince, in)
	} else {
		m.begin(m.changes.open(kindStart, m.upSince))
	}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		wake := m.settle(time.Now())
		if m.over() {
			return m.exit
		}
		arm(timer, wake)
		select {
		case f := <-m.facts:
			m.hear(f)
		case <-timer.C:
		case <-ctx.Done():
			m.stop(time.Now(), "asked by the program", true)
			ctx = context.Background()
		}
	}
}

// mostFacts bounds those of one turn: exits that never end must not keep the
// house from settling.
const mostFacts = 64

// hear applies a fact and what else has happened by now. Where much happens at
// once, as when many workers start, it settles, and is written down, once.
func (m *Master) hear(f fact) {
	f.apply(m, time.Now())
	for range mostFacts - 1 {
		select {
		case f = <-m.facts:
			f.apply(m, time.Now())
		default:
			return
		}
	}
}

func (m *Master) header() header {
	return header{Major: stateMajor, Minor: stateMinor, Program: m.opts.Version, Pool: m.opts.Name, Boot: bootID(), UID: new(os.Geteuid())}
}

// arm sets the one timer. With nothing to wait for it is stopped: an idle
// master is not woken up at all. The turn may have taken its time, or stood still
// with all else: what is due by now is due at once.
func arm(timer *time.Timer, wake time.Time) {
	if wake.IsZero() {
		timer.Stop()
		return
	}
	timer.Reset(max(0, time.Until(wake)))
}
