package master

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"fugue/internal/config"
	"fugue/internal/launch"
	"fugue/internal/logs"
	"fugue/internal/proc"
	"fugue/internal/release"
)

// Start implements World.
func (h *host) Start(l Launch, launched func(error), exited func()) (Process, error) {
	if restored, err := l.Sockets.AssertFlags(); err != nil || len(restored) > 0 {
		h.settings.Log.Debugf("O_NONBLOCK set again on %v: %v", restored, err)
	}
	rel := l.Release
	plan := planOf(rel)
	plan.Path = rel.Path
	plan.Args, plan.Env = rel.Command(release.Vars{
		Worker: l.Slot, Generation: int(l.Generation), NotifySocket: l.Inbox,
	})
	plan.Held = true
	if h.orphans(l.Config) == config.OrphansStop {
		plan.DeathSignal = l.Config.Stop.Signal
	}
	plan.ListenPID = rel.ListenEnv()
	name := h.name + "/" + strconv.Itoa(l.Slot)
	spec := proc.Spec{Plan: plan, Name: name, Stdin: -1, Stdout: -1, Stderr: -1, Files: l.Sockets.FDs(), CgroupFD: -1}
	started := time.Now()
	if h.journal {
		spec.Plan.Journal = &launch.Journal{Identifier: name, Unit: h.unit}
		child, err := proc.Start(spec, launched, exited)
		if err != nil {
			return nil, err
		}
		return &journaled{Child: child, memo: Memo{Start: child.StartTime(), Identifier: name, Since: started}}, nil
	}
	relay, err := logs.New(os.Stdout, name)
	if err != nil {
		return nil, err
	}
	defer relay.Started()
	if rel.UID >= 0 {
		if err := relay.Chown(rel.UID, -1); err != nil {
			return nil, err
		}
	}
	pipes, err := relay.Pipes()
	if err != nil {
		return nil, err
	}
	spec.Stdout, spec.Stderr = relay.Worker()
	child, err := proc.Start(spec, launched, exited)
	if err != nil {
		return nil, err
	}
	return &relayed{Child: child, relay: relay, memo: Memo{Start: child.StartTime(), Identifier: name, Pipes: pipes}}, nil
}

// orphans is what workers of a configuration do when this master dies.
func (h *host) orphans(cfg *config.Config) config.Orphans {
	switch {
	case cfg.Orphans != config.OrphansDefault:
		return cfg.Orphans
	case h.unit != "":
		return config.OrphansKeep
	}
	return config.OrphansStop
}

// planOf is what every process of a release has in common.
func planOf(rel *release.Release) launch.Plan {
	plan := launch.Plan{
		Dir: rel.Dir, Umask: rel.Umask, Nice: rel.Nice, OOMScoreAdj: rel.OOMScoreAdj,
		NoNewPrivs: rel.NoNewPrivs, UID: rel.UID, GID: rel.GID, Groups: rel.Groups,
		Capabilities: capabilities(rel, os.Geteuid(), ownRights),
	}
	for _, r := range rel.Rlimits {
		plan.Rlimits = append(plan.Rlimits, launch.Rlimit{Resource: r.Resource, Cur: r.Cur, Max: r.Max})
	}
	return plan
}

// journaled is a worker that writes to the journal by itself, or a process of
// a predecessor, whose output goes where that sent it.
type journaled struct {
	*proc.Child
	memo Memo
}

// Memo implements Process.
func (p *journaled) Memo() Memo { return p.memo }

// tailLines is how many last lines of a worker a verdict shows.
const tailLines = 10

// Tail implements Process.
func (p *journaled) Tail(ctx context.Context, _ bool) []string {
	if p.memo.Identifier == "" {
		return nil
	}
	// Not by the unit's invocation: of a worker that dies at once journald
	// cannot find that out any more.
	lines, err := logs.JournalTail(ctx, logs.JournalQuery{
		PID: p.PID(), Identifier: p.memo.Identifier, Since: p.memo.Since, N: tailLines,
	})
	if err != nil {
		return []string{err.Error()}
	}
	return lines
}

// relayed is a worker whose output passes through the master.
type relayed struct {
	*proc.Child
	relay *logs.Relay
	memo  Memo
}

// Memo implements Process.
func (p *relayed) Memo() Memo { return p.memo }

// Tail implements Process.
func (p *relayed) Tail(ctx context.Context, ended bool) []string {
	if ended {
		select {
		case <-p.relay.Done():
		case <-ctx.Done():
		}
	}
	return p.relay.Tail()
}

// runPlan runs a process to its end, or kills it with its group when ctx
// ends, and passes what it says on to words.
func runPlan(ctx context.Context, plan launch.Plan, words io.Writer) (proc.Exit, error) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return proc.Exit{}, fmt.Errorf("make a pipe: %w", err)
	}
	out := os.NewFile(uintptr(pipe[0]), "output")
	defer out.Close()
	// Only our side is to be non-blocking; the two ends are not one description.
	if err := unix.SetNonblock(pipe[1], false); err != nil {
		return proc.Exit{}, fmt.Errorf("make a pipe: %w", err)
	}
	started, ended := make(chan error, 1), make(chan struct{})
	child, err := proc.Start(
		proc.Spec{Plan: plan, Name: "check", Stdin: -1, Stdout: pipe[1], Stderr: pipe[1], CgroupFD: -1},
		func(err error) { started <- err }, func() { close(ended) },
	)
	_ = unix.Close(pipe[1])
	if err != nil {
		return proc.Exit{}, err
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(words, out)
	}()
	launchErr := <-started
	select {
	case <-ended:
	case <-ctx.Done():
		_ = child.KillGroup()
		<-ended
	}
	// Something that left the group may hold the pipe for ever.
	_ = out.SetReadDeadline(time.Now().Add(time.Second))
	<-read
	exit, err := child.Reap()
	return exit, errors.Join(launchErr, err)
}

// limited keeps the first part of what is written to it.
type limited struct {
	buffer *bytes.Buffer
	left   int
}

func (l *limited) Write(p []byte) (int, error) {
	kept := min(len(p), l.left)
	l.buffer.Write(p[:kept])
	l.left -= kept
	return len(p), nil
}
