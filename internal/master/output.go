package master

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sirupsen/logrus"

	"fugue/internal/config"
	"fugue/internal/launch"
	"fugue/internal/logs"
	"fugue/internal/proc"
	"fugue/internal/release"
)

// running is a worker with what becomes of its output, or a process of a
// predecessor, whose output goes where that sent it.
type running struct {
	*proc.Child
	memo  Memo
	relay *logs.Relay // nil: the master passes nothing on
	own   *ownCgroup  // nil: it is in the master's cgroup
}

// Reap implements Process.
func (p *running) Reap() (proc.Exit, error) {
	exit, err := p.Child.Reap()
	return p.own.judge(exit), err
}

// A destination is where one stream of one worker goes.
type destination struct {
	to   config.To
	path string // of the file that the worker holds, or that the master relays to
}

// destinationOf says where a stream goes, for one worker.
func (h *host) destinationOf(o config.Output, slot, generation int) destination {
	to := o.To
	switch {
	case to == config.ToDefault && h.journal:
		to = config.ToJournal
	case to == config.ToDefault:
		to = config.ToRelay
	}
	return destination{to, logPath(o, slot, generation)}
}

func logPath(o config.Output, slot, generation int) string {
	path, _ := o.Path.Expand(func(p config.Placeholder) (string, error) {
		if p.Kind == "worker" {
			return strconv.Itoa(slot), nil
		}
		return strconv.Itoa(generation), nil // config lets no others pass
	})
	return path
}

// connect fills in where the output of a worker goes. The relay, where there is
// one, wants to hear of the start.
func (h *host) connect(l Launch, name string, spec *proc.Spec) (*running, error) {
	p := &running{memo: Memo{Identifier: name}}
	log := l.Config.Log
	stdout := h.destinationOf(log.Stdout, l.Slot, int(l.Generation))
	stderr := h.destinationOf(log.Stderr, l.Slot, int(l.Generation))
	for _, s := range []struct {
		destination
		n             int
		fd            *int
		held, relayed *string
	}{
		{stdout, 1, &spec.Stdout, &spec.Plan.Stdout, &p.memo.Files.Stdout},
		{stderr, 2, &spec.Stderr, &spec.Plan.Stderr, &p.memo.Files.Stderr},
	} {
		switch s.to {
		case config.ToInherit:
			*s.fd = s.n
		case config.ToFile:
			*s.held = s.path
		case config.ToRelay:
			*s.relayed = s.path
		case config.ToJournal:
			if spec.Plan.Journal == nil {
				spec.Plan.Journal = &launch.Journal{Identifier: name, Unit: h.unit, Only: s.n}
			} else {
				spec.Plan.Journal.Only = 0 // both
			}
		}
	}
	p.memo.Holds = spec.Plan.Stderr
	if relayed := [2]bool{stdout.to == config.ToRelay, stderr.to == config.ToRelay}; relayed != [2]bool{} {
		return p, h.relay(l, p, relayed, spec)
	}
	return p, nil
}

// relay makes the pipes of a worker.
func (h *host) relay(l Launch, p *running, relayed [2]bool, spec *proc.Spec) error {
	rights := rightsOf(l.Release)
	w, err := h.writers(p.memo.Files, relayed, func(string) logs.Rights { return rights })
	if err != nil {
		return err
	}
	if p.relay, err = logs.New(w, p.memo.Identifier); err != nil {
		w.Ended()
		return err
	}
	if l.Release.UID >= 0 && l.Release.UID != os.Geteuid() {
		if err := p.relay.Chown(l.Release.UID, -1); err != nil {
			p.relay.Started()
			return err
		}
	}
	if p.memo.Pipes, err = p.relay.Pipes(); err != nil {
		p.relay.Started()
		return err
	}
	out, errs := p.relay.Worker()
	if out >= 0 {
		spec.Stdout = out
	}
	if errs >= 0 {
		spec.Stderr = errs
	}
	return nil
}

// rightsOf are those that a release's workers have to files.
func rightsOf(rel *release.Release) logs.Rights {
	return logs.Rights{UID: rel.UID, GID: rel.GID, Groups: rel.Groups}
}

// writers are where the relayed streams go: to files, or to where the master
// itself writes.
func (h *host) writers(to relayedTo, relayed [2]bool, rights func(path string) logs.Rights) (logs.Writers, error) {
	var taken []*logs.File
	w := logs.Writers{Ended: func() {
		for _, f := range taken {
			h.files.Leave(f)
		}
	}}
	if relayed[0] {
		w.Stdout = os.Stdout
	}
	if relayed[1] {
		w.Stderr = os.Stdout
	}
	if to.Stdout != "" {
		f, err := h.files.Take(to.Stdout, rights(to.Stdout))
		if err != nil {
			return w, fmt.Errorf("log file: %w", err)
		}
		taken, w.Stdout = append(taken, f), f
	}
	if to.Stderr != "" {
		f, err := h.files.Take(to.Stderr, rights(to.Stderr))
		if err != nil {
			w.Ended()
			return w, fmt.Errorf("log file: %w", err)
		}
		taken, w.Stderr = append(taken, f), f
	}
	return w, nil
}

// relayAgain goes on with the output of a worker of an image before this one.
func (h *host) relayAgain(log *logrus.Entry, pid int, memo Memo) (*logs.Relay, error) {
	w, err := h.writers(memo.Files, memo.relayed(), func(path string) logs.Rights { return h.rights[path] })
	if err != nil {
		log.Errorf("%v; what process %d writes goes to standard output", err, pid)
		if w, err = h.writers(relayedTo{}, memo.relayed(), nil); err != nil {
			return nil, err
		}
	}
	var relay *logs.Relay
	if kept, ok := h.kept[pid]; ok {
		relay, err = logs.Resume(w, memo.Identifier, kept)
	} else {
		relay, err = logs.Reopen(w, memo.Identifier, pid, memo.Pipes)
	}
	if err != nil {
		w.Ended()
	}
	return relay, err
}

// rightsTo collects whose rights the log files of a predecessor's workers are
// opened with.
func (s *saved) rightsTo() map[string]logs.Rights {
	rights := map[string]logs.Rights{"": logs.OurRights()}
	for _, w := range s.Workers {
		for _, g := range s.Generations {
			if g.Number == w.Generation {
				rights[w.Memo.Files.Stdout], rights[w.Memo.Files.Stderr] = rightsOf(g.Release), rightsOf(g.Release)
			}
		}
	}
	return rights
}

// Memo implements Process.
func (p *running) Memo() Memo { return p.memo }

// tailLines is how many last lines of a worker a verdict shows.
const tailLines = 10

// Tail implements Process.
func (p *running) Tail(ctx context.Context, ended bool) []string {
	if p.relay != nil {
		if ended {
			select {
			case <-p.relay.Done():
			case <-ctx.Done():
			}
		}
		if tail := p.relay.Tail(); len(tail) > 0 || p.memo.Pipes.Stderr != 0 {
			return tail
		}
	}
	switch {
	case p.memo.Holds != "":
		return []string{"its standard error is in " + p.memo.Holds}
	case p.memo.Since.IsZero():
		return nil
	}
	// Not by the unit's invocation: of a worker that dies at once journald
	// cannot find that out any more.
	lines, err := logs.JournalTail(ctx, logs.JournalQuery{
		PID: p.PID(), Identifier: p.memo.Identifier, Since: p.memo.loggedSince(time.Now(), uptime()), N: tailLines,
	})
	if err != nil {
		return []string{err.Error()}
	}
	return lines
}

// loggedSince is a time that no line of the worker in the journal is older than.
// That of its start is one only as long as nobody sets the clock back: lines after
// that have earlier times. up is how long the kernel has been running by now.
func (m Memo) loggedSince(now time.Time, up time.Duration) time.Time {
	const tick = 10 * time.Millisecond // of Start
	if start := now.Add(time.Duration(m.Start)*tick - up); start.Before(m.Since) {
		return start
	}
	return m.Since
}

// uptime is CLOCK_BOOTTIME of clock_gettime(2), by which starts of processes are
// told: it runs on while the machine sleeps.
func uptime() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) // cannot fail
	return time.Duration(ts.Nano())
}
