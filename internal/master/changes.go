package master

import (
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"fugue/internal/control"
	"fugue/pool"
	"fugue/reload"
)

// The kinds of changes.
const (
	kindStart  = "start"
	kindReload = "reload"
	kindScale  = "scale"
	kindCancel = "cancel"
	kindStop   = "stop"

	kindUpgrade = "upgrade"
	kindRecycle = "recycle"
)

// change is one thing asked of the pool, and those who wait for its end.
type change struct {
	control.Change
	callers []chan control.Event
	began   time.Time       // Started, by the clock that is never set
	unit    bool            // systemd asked for it, and knows that it is under way
	made    pool.Generation // 0: none
	blame   *pool.Failure   // what its verdict is about, while the worker's last lines are on their way
}

// changes are those under way and the last few that ended.
type changes struct {
	last    int
	list    []*change
	running *change // a start or reload
	upgrade *change // the one handover that comes next, shared by its callers
	waiting *change // the one reload that comes after it, shared by its callers
	scaling *change
	recycle *change
	cancels []*change // callers of cancel, until the reload has gone back
}

// blames settles which failure the verdict of c is about. It does not change
// while its last lines are awaited: a crash loop may be faster than they are.
func (c *change) blames(f pool.Failure) error {
	if c.blame == nil {
		c.blame = &f
	}
	return &reload.FailedError{Failure: *c.blame}
}

// keptChanges is how many can be asked about again.
const keptChanges = 16

// open gives a new change its number.
func (c *changes) open(kind string, now time.Time) *change {
	c.last++
	ch := &change{Change: control.Change{Number: c.last, Kind: kind, State: control.ChangeRunning, Started: now}, began: now}
	c.list = append(c.list, ch)
	c.trim()
	return ch
}

// trim forgets the oldest, but for the last of each kind: whoever asked for an
// upgrade asks the next image for the verdict, and scales by signals may come by
// the dozen meanwhile.
func (c *changes) trim() {
	for len(c.list) > keptChanges {
		oldest := slices.IndexFunc(c.list, func(old *change) bool {
			return slices.ContainsFunc(c.list, func(x *change) bool { return x.Kind == old.Kind && x.Number > old.Number })
		})
		c.list = slices.Delete(c.list, max(0, oldest), max(0, oldest)+1)
	}
}

func (c *changes) find(number int) *change {
	for _, ch := range append([]*change{c.running, c.upgrade, c.waiting, c.scaling, c.recycle}, append(c.cancels, c.list...)...) {
		if ch != nil && ch.Number == number {
			return ch
		}
	}
	return nil
}

// ticketDepth is how much of a change's progress waits for a slow caller.
const ticketDepth = 64

// join lets a caller follow the change. The channel is closed after the event
// that carries the change's end.
func (c *change) join() control.Ticket {
	events := make(chan control.Event, ticketDepth)
	if c.State == control.ChangeDone {
		end := c.Change
		events <- control.Event{Time: c.Ended, Kind: "change", Change: &end}
		close(events)
	} else {
		c.callers = append(c.callers, events)
	}
	return control.Ticket{Change: c.Number, Events: events}
}

// tell sends progress to those who wait. Who does not read misses some of it,
// never the end, and never holds up the loop.
func (c *change) tell(e control.Event) {
	for _, caller := range c.callers {
		select {
		case caller <- e:
		default:
		}
	}
}

// farewell sends the callers of a change that has ended home.
func (c *change) farewell() control.Event {
	end := c.Change
	e := control.Event{Time: c.Ended, Kind: "change", Change: &end, Text: c.Message}
	for _, caller := range c.callers {
		for sent := false; !sent; {
			select {
			case caller <- e:
				sent = true
			default:
				// Full of progress nobody read: the oldest makes room.
				select {
				case <-caller:
				default:
				}
			}
		}
		close(caller)
	}
	c.callers = nil
	return e
}

// conclude ends a change. Its callers, the log and the events hear of it when
// it has been written down: a successor must not know less than they do.
func (m *Master) conclude(now time.Time, c *change, outcome string, exit int, message string, details []string) {
	c.forget(&m.changes)
	c.State, c.Outcome, c.Exit, c.Ended = control.ChangeDone, outcome, exit, now
	c.Message, c.Details = message, details
	m.done = append(m.done, c)
}

// answer tells those who wait what has been decided and written down.
func (m *Master) answer() {
	for _, done := range m.answers {
		close(done)
	}
	for _, c := range m.done {
		m.tellEnd(c)
	}
	m.answers, m.done = nil, nil
}

func (m *Master) tellEnd(c *change) {
	m.events.publish(c.farewell())
	if c.Kind == kindStart && m.exit != nil {
		return // it is what Run returns, and the caller says it
	}
	level := logrus.InfoLevel
	if c.Exit != 0 {
		level = logrus.ErrorLevel
	}
	log := logrus.NewEntry(m.log)
	if c.made > 0 {
		log = about(m.log, 0, c.made)
	}
	log.Logf(level, "%s %d: %s", c.Kind, c.Number, c.Message)
	for _, line := range c.Details {
		log.Logf(level, "%s %d: | %s", c.Kind, c.Number, line)
	}
}

// forget takes the change out of those under way.
func (c *change) forget(all *changes) {
	if all.running == c {
		all.running = nil
	}
	if all.upgrade == c {
		all.upgrade = nil
	}
	if all.waiting == c {
		all.waiting = nil
	}
	if all.scaling == c {
		all.scaling = nil
	}
	if all.recycle == c {
		all.recycle = nil
	}
}
