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
	"fugue/internal/proc"
	"fugue/internal/release"
)

// Start implements World.
func (h *host) Start(l Launch, launched func(error), exited func()) (Process, error) {
	log := about(h.settings.Log, l.Slot, l.Generation)
	tmp, err := h.makeTmp(l.Release, l.Slot)
	if err != nil {
		return nil, err
	}
	own, err := h.makeCgroup(l)
	if err != nil {
		h.removeTmp(log, tmp)
		return nil, err
	}
	p, err := h.start(l, tmp, own, launched, h.thenRemove(log, tmp, h.thenRemoveCgroup(log, own, exited)))
	if err != nil {
		h.removeTmp(log, tmp)
		h.removeCgroup(log, own, emptyTime)
		return nil, err
	}
	return p, nil
}

// start starts a worker that has a temporary directory and a cgroup, or none.
func (h *host) start(l Launch, tmp string, own *ownCgroup, launched func(error), exited func()) (Process, error) {
	if restored, err := l.Sockets.AssertFlags(l.Config.NonBlocking); err != nil || len(restored) > 0 {
		about(h.settings.Log, l.Slot, l.Generation).Debugf("O_NONBLOCK set on %v: %v", restored, err)
	}
	rel := l.Release
	plan := planOf(rel)
	plan.Path = rel.Path
	plan.Args, plan.Env = rel.Command(release.Vars{
		Worker: l.Slot, Generation: int(l.Generation), NotifySocket: l.Inbox, Watchdog: l.Config.Watchdog.Timeout,
	})
	if tmp != "" {
		plan.Env = launch.SetEnv(plan.Env, "TMPDIR", tmp)
	}
	plan.Held = true
	if h.orphans(l.Config) == config.OrphansStop {
		plan.DeathSignal = l.Config.Stop.Signal
	}
	plan.WatchdogPID = l.Config.Watchdog.Timeout > 0
	plan.ListenPID = rel.ListenEnv()
	name := h.name + "/" + strconv.Itoa(l.Slot)
	dir, err := own.open()
	if err != nil {
		return nil, err
	}
	if dir >= 0 {
		defer unix.Close(dir)
	}
	spec := proc.Spec{Plan: plan, Name: name, Stdin: -1, Stdout: -1, Stderr: -1, Files: l.Sockets.FDs(), CgroupFD: dir}
	spec.AskGroup = own == nil && tmp == "" // what is removed after a worker's end is removed once, after all of it
	if rel.StdinSocket {
		spec.Stdin = spec.Files[0]
	}
	started := time.Now()
	p, err := h.connect(l, name, &spec)
	if err != nil {
		return nil, err
	}
	if p.relay != nil {
		defer p.relay.Started()
	}
	if p.Child, err = proc.Start(spec, launched, exited); err != nil {
		return nil, err
	}
	p.own = own
	p.memo.Start, p.memo.Tmp, p.memo.Cgroup = p.StartTime(), tmp, own.name()
	if spec.Plan.Journal != nil {
		p.memo.Since = started
	}
	return p, nil
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
