package master

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"fugue/activation"
	"fugue/internal/config"
	"fugue/internal/control"
	"fugue/internal/logs"
	"fugue/internal/release"
	"fugue/pool"
	"fugue/reload"
)

// The version of the state. Additive changes raise the minor one and are read
// both ways: what is unknown is passed over, what is missing is zero. Only
// another major one is refused.
const (
	stateMajor = 1
	stateMinor = 1
)

// saved is everything about a pool that outlives its master: what a successor
// goes on from. In the file it is JSON, one record a line: the first says what
// it is, and each further one is a part of it. A part that comes again takes the
// place of the one before, so that what is new can be appended.
type saved struct {
	header
	Master      savedMaster
	Generations []savedGeneration
	Workers     []savedWorker
	Exec        *savedExec // only from one image to the next of the same process
}

// header comes first, so that a state that cannot be read can be named.
type header struct {
	Major   int    `json:"major"`
	Minor   int    `json:"minor"`
	Program string `json:"program"` // the version of the program that wrote it
	Pool    string `json:"pool"`
	Boot    string `json:"boot"` // of the kernel: PIDs and instants mean nothing after another
	// UID is whom the master ran as that wrote it; nil: a program that did not say.
	UID *int `json:"uid,omitempty"`
}

// record is one further line; one of its fields is set.
type record struct {
	Master     *savedMaster     `json:"master,omitempty"`
	Change     *control.Change  `json:"change,omitempty"`
	Generation *savedGeneration `json:"generation,omitempty"`
	Slot       *savedSlot       `json:"slot,omitempty"`
	Worker     *savedWorker     `json:"worker,omitempty"`
	Exec       *savedExec       `json:"exec,omitempty"`
	Gone       *gone            `json:"gone,omitempty"`
}

// gone takes a part away again.
type gone struct {
	Part   part `json:"part"`
	Number int  `json:"number,omitempty"`
}

// part is what a record is about: the name of its field.
type part string

// The parts of a state. Of each but the first and the last there may be many,
// each with its number.
const (
	partMaster     part = "master"
	partChange     part = "change"
	partGeneration part = "generation"
	partSlot       part = "slot"
	partWorker     part = "worker"
	partExec       part = "exec"
)

// instant is a time by the kernel's monotonic clock (clock_gettime(2)), in
// nanoseconds: the same in every process until the next boot, and no clock
// that is stepped changes it. 0 is no time at all.
type instant int64

// savedMaster is what the loop knows beside generations and workers.
type savedMaster struct {
	Current    pool.Generation   `json:"current"`
	Last       pool.Generation   `json:"last"`
	Leftovers  []pool.Generation `json:"leftovers,omitempty"`
	Wanted     int               `json:"wanted"`
	FileWanted int               `json:"file_wanted"`
	Paused     bool              `json:"paused,omitempty"`
	Ready      bool              `json:"ready,omitempty"` // systemd has been told
	Stuck      string            `json:"stuck,omitempty"`
	ScaleBase  int               `json:"scale_base,omitempty"`
	// Leaving: the master ended for a restart, and its successor is to read
	// the file anew; so is the next one, until that has a verdict. Ended: it
	// was stopped, and nothing is to be taken over.
	Leaving bool `json:"leaving,omitempty"`
	Ended   bool `json:"ended,omitempty"`

	MaxDraining int           `json:"max_draining,omitempty"`
	LastID      pool.ID       `json:"last_id"`
	Table       []savedTarget `json:"table"`
	Slots       []savedSlot   `json:"slots,omitempty"`
	Rollout     *savedRollout `json:"rollout,omitempty"`

	LastChange int              `json:"last_change"`
	Changes    []control.Change `json:"changes,omitempty"` // in version 1.0; since 1.1 in records of their own, as Slots
	Running    int              `json:"running,omitempty"`
	RunningAt  instant          `json:"running_at,omitempty"` // when it began; its own time is of a clock that is set
	Waiting    int              `json:"waiting,omitempty"`
	Scaling    int              `json:"scaling,omitempty"`
	Upgrading  int              `json:"upgrading,omitempty"` // waits; one that runs is in Running
	Cancels    []int            `json:"cancels,omitempty"`

	Recycling   int       `json:"recycling,omitempty"` // the change
	RecycleIDs  []pool.ID `json:"recycle_ids,omitempty"`
	RecycleBase int       `json:"recycle_base,omitempty"`

	Dropped int `json:"dropped,omitempty"`

	// Reopen: the log files are to be opened again.
	Reopen bool `json:"reopen,omitempty"`
	// Events: no event has a higher number. Those of a master that died are
	// not known, nor how many there were; its successor goes on from here.
	Events int `json:"events,omitempty"`
}

// savedTarget is the part of a generation that changes.
type savedTarget struct {
	Generation pool.Generation `json:"generation"`
	Limits     pool.Limits     `json:"limits"`
	Target     int             `json:"target"`
	Failures   pool.Failures   `json:"failures"`
	Streak     int             `json:"streak,omitempty"`
	FailedAt   instant         `json:"failed_at,omitempty"`
	Before     numbers         `json:"before"`
	Asked      numbers         `json:"asked"`
}

// savedSlot is what is remembered of a slot.
type savedSlot struct {
	Slot     int    `json:"slot"`
	Restarts int    `json:"restarts,omitempty"`
	LastExit string `json:"last_exit,omitempty"`
}

// savedRollout is a rollout under way: reload.Snapshot.
type savedRollout struct {
	From     []pool.Generation `json:"from"`
	To       pool.Generation   `json:"to"`
	Want     int               `json:"want"`
	Phase    string            `json:"phase"`
	Deadline instant           `json:"deadline,omitempty"`
	BakedAt  instant           `json:"baked_at,omitempty"`
	Hold     int               `json:"hold,omitempty"`
	Before   int               `json:"before,omitempty"`
	Base     pool.Failures     `json:"base"`
	Why      string            `json:"why,omitempty"`
	WhyStuck string            `json:"why_stuck,omitempty"`
}

// savedGeneration is a release and all that it was made with; it never changes.
type savedGeneration struct {
	Number  pool.Generation       `json:"number"`
	Config  *config.Config        `json:"config"`
	Release *release.Release      `json:"release"`
	Sockets []activation.Listener `json:"sockets"`
	Inbox   string                `json:"inbox"`
}

// savedWorker is one worker: its row in the pool, its process, and what the
// loop knows of it.
type savedWorker struct {
	ID         pool.ID         `json:"id"`
	Slot       int             `json:"slot"`
	Generation pool.Generation `json:"generation"`
	PID        int             `json:"pid"`
	Memo       Memo            `json:"process"`
	State      string          `json:"state"`
	Why        pool.Why        `json:"why,omitempty"`
	Born       instant         `json:"born"`
	Since      instant         `json:"since"`
	ReadyBy    instant         `json:"ready_by,omitempty"`
	SignalAt   instant         `json:"signal_at,omitempty"`
	KillAt     instant         `json:"kill_at,omitempty"`
	Signalled  bool            `json:"signalled,omitempty"`
	Killed     bool            `json:"killed,omitempty"`
	Judged     bool            `json:"judged,omitempty"`
	Watchdog   time.Duration   `json:"watchdog,omitempty"` // its interval, in nanoseconds
	Leaving    pool.Why        `json:"leaving,omitempty"`
	Due        pool.Why        `json:"due,omitempty"`

	Sent     bool    `json:"sent,omitempty"` // the stop signal is out
	GaveUp   bool    `json:"gave_up,omitempty"`
	Status   string  `json:"status,omitempty"`
	Word     string  `json:"word,omitempty"` // what made it ready
	SeenAt   instant `json:"seen_at,omitempty"`
	LateWord bool    `json:"late_word,omitempty"`
}

// savedExec is what crosses an exec: descriptors, and what only this process
// could find out.
type savedExec struct {
	Dir     string                `json:"dir"` // the runtime directory
	Hold    int                   `json:"hold"`
	Control int                   `json:"control"`
	Inboxes map[int]int           `json:"inboxes,omitempty"` // by user
	Relays  map[int]logs.Kept     `json:"relays,omitempty"`  // by PID
	Files   map[string]int        `json:"files,omitempty"`   // that is relayed to, by path
	Held    []activation.Listener `json:"held"`
	Unit    string                `json:"unit,omitempty"`
	Journal bool                  `json:"journal,omitempty"`
	Events  *savedEvents          `json:"events,omitempty"`
	PIDFile *savedFile            `json:"pid_file,omitempty"`
}

// savedFile is one that stays open.
type savedFile struct {
	Path string `json:"path"`
	FD   int    `json:"fd"`
}

// errForeign is the error of a state that is not for this program or pool.
var errForeign = errors.New("the state cannot be used")

// decode reads the state of a pool; any for "". What it does not know it
// passes over.
func decode(b []byte, name string) (*saved, error) {
	s := &saved{}
	in := bufio.NewReader(bytes.NewReader(b))
	next := func(into any) (bool, error) {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return false, nil
		}
		if err := json.Unmarshal(line, into); err != nil {
			return false, fmt.Errorf("read the state: %w", err)
		}
		return true, nil
	}
	switch more, err := next(&s.header); {
	case err != nil:
		return nil, err
	case !more:
		return nil, errors.New("read the state: it is empty")
	case s.Major != stateMajor:
		return nil, fmt.Errorf("%w: it is of version %d.%d, written by fugue %s, and this program reads %d.x", errForeign, s.Major, s.Minor, s.Program, stateMajor)
	case name != "" && s.Pool != name:
		return nil, fmt.Errorf("%w: it is of the pool %s, and this is %s", errForeign, s.Pool, name)
	}
	parts := &collector{saved: s}
	for {
		var r record
		more, err := next(&r)
		switch {
		case err != nil:
			return nil, err
		case !more:
			return s, s.validate()
		}
		parts.take(r)
	}
}

// stateOf are the words for the states of a worker.
var stateOf = map[string]pool.State{
	pool.Starting.String(): pool.Starting, pool.Ready.String(): pool.Ready,
	pool.Available.String(): pool.Available, pool.Stopping.String(): pool.Stopping,
}

// phaseOf are the words for the phases of a rollout.
var phaseOf = func() map[string]reload.Phase {
	words := map[string]reload.Phase{}
	for p := reload.Canary; p <= reload.Stuck; p++ {
		words[p.String()] = p
	}
	return words
}()

func saveRollout(s reload.Snapshot, d dial) *savedRollout {
	return &savedRollout{
		From: s.From, To: s.To, Want: s.Want, Phase: s.Phase.String(), Deadline: d.instant(s.Deadline), BakedAt: d.instant(s.BakedAt),
		Hold: s.Hold, Before: s.Before, Base: s.Base, Why: s.Why, WhyStuck: s.WhyStuck,
	}
}

func (r *savedRollout) snapshot(d dial) reload.Snapshot {
	return reload.Snapshot{
		From: r.From, To: r.To, Want: r.Want, Phase: phaseOf[r.Phase], Deadline: d.time(r.Deadline), BakedAt: d.time(r.BakedAt),
		Hold: r.Hold, Before: r.Before, Base: r.Base, Why: r.Why, WhyStuck: r.WhyStuck,
	}
}
