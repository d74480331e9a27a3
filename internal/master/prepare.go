package master

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"fugue/activation"
	"fugue/internal/config"
	"fugue/internal/control"
	"fugue/internal/logs"
	"fugue/internal/proc"
	"fugue/internal/release"
)

// Prepare implements World: sockets, release, check command, in this order,
// all proven before anything old is touched.
func (h *host) Prepare(ctx context.Context, current *activation.Set) (*Prepared, error) {
	cfg, err := h.settings.Load()
	if err != nil {
		return nil, err
	}
	if cfg.Name != h.name {
		return nil, fmt.Errorf("the configuration names the pool %s now; stop %s and start it under the new name", cfg.Name, h.name)
	}
	if _, _, err := controlRights(cfg); err != nil {
		return nil, err
	}
	if err := h.checkCgroup(cfg); err != nil {
		return nil, err
	}
	if err := h.checkWatch(cfg); err != nil {
		return nil, err
	}
	if err := h.checkPIDFile(cfg, current == nil); err != nil {
		return nil, err
	}
	wanted, err := specs(cfg)
	if err != nil {
		return nil, err
	}
	candidate, err := activation.Prepare(current, wanted, h.inheritedFor(current), h.fetch)
	if err != nil {
		return nil, err
	}
	if current == nil {
		h.mentionOthers(candidate.Set())
	}
	rel, inbox, err := h.makeRelease(ctx, cfg, candidate.Set())
	if err != nil {
		return nil, errors.Join(err, candidate.Abort())
	}
	h.drainInboxes()
	return &Prepared{Config: cfg, Release: rel, Candidate: candidate, Inbox: inbox}, nil
}

// mentionOthers says what workers get that may be no more than a mistake:
// ListenFIFO= and ListenSpecial= are meant, any other file rarely.
func (h *host) mentionOthers(set *activation.Set) {
	for _, l := range set.Listeners() {
		if l.Network == "other" && l.Spec.Name == "" {
			h.settings.Log.Warnf("fd %d, passed as %q, is %s and no socket that fugue knows; workers get it as it is", l.FD, l.Name, l.Address)
		}
	}
}

func (h *host) makeRelease(ctx context.Context, cfg *config.Config, set *activation.Set) (rel *release.Release, inbox string, err error) {
	var sockets []release.Socket
	for _, l := range set.Listeners() {
		sockets = append(sockets, release.Socket{Name: l.Name, Network: l.Network, Address: l.Address})
	}
	if rel, err = release.Make(cfg, sockets, os.Environ()); err != nil {
		return nil, "", err
	}
	if err := checkLogs(cfg, rel); err != nil {
		return nil, "", err
	}
	in, err := h.inbox(rel.UID, rel.GID)
	if err != nil {
		return nil, "", err
	}
	if len(cfg.Reload.Check) > 0 { // at a start nobody else has asked for its time
		h.Tell(moreTime(cfg.Reload.Timeout))
	}
	if err := check(ctx, rel, cfg); err != nil {
		return nil, "", err
	}
	return rel, in.Path(), ctx.Err()
}

// inheritedFor are the fds that systemd passed; only the first release has
// them to choose from, afterwards they are in the current set.
func (h *host) inheritedFor(current *activation.Set) []activation.Inherited {
	if current != nil {
		return nil
	}
	return h.inherited
}

// fetch gets a listener out of a predecessor's process: an address that one
// of those holds is no busy address.
func (h *host) fetch(name, network, address string) (int, error) {
	if len(h.strangers) == 0 {
		return -1, nil // a look through /proc/net costs ten milliseconds
	}
	for _, holder := range activation.HolderOf(network, address) {
		for _, pid := range h.strangers {
			if pid == holder.PID {
				return proc.FetchSocket(pid, holder.FD)
			}
		}
	}
	return -1, nil
}

// specs puts the configured listeners into activation's words; what is wrong
// with one is an error at its place in the file.
func specs(cfg *config.Config) ([]activation.Spec, error) {
	var list []activation.Spec
	var errs config.Errors
	for _, l := range cfg.Listeners {
		s := activation.Spec{
			Name: l.Name, Stream: l.Stream, Datagram: l.Datagram, Backlog: l.Backlog,
			ReusePort: l.ReusePort, FreeBind: l.FreeBind, KeepAlive: l.KeepAlive, NoDelay: l.NoDelay,
			DeferAccept: l.DeferAccept, BindIPv6Only: l.BindIPv6Only,
			ReceiveBuffer: l.ReceiveBuffer, SendBuffer: l.SendBuffer,
			Mode: l.Mode, User: l.User, Group: l.Group, NonBlocking: l.NonBlocking,
		}
		if path := strings.HasPrefix(l.Stream+l.Datagram, "/"); path && !l.RemoveOnStop {
			keep := false
			s.RemoveOnStop = &keep
		}
		if err := s.Validate(); err != nil {
			errs = append(errs, cfg.Errorf("listen."+l.Name, "listener %s: %w", l.Name, err))
		}
		list = append(list, s)
	}
	if errs != nil {
		return nil, errs
	}
	return list, nil
}

// maxCheckOutput is how much of a check command's words is kept.
const maxCheckOutput = 64 << 10

// check runs the release's check command, as the worker's user, in its
// directory and environment, without sockets. It is ended with its whole
// group when ctx ends.
func check(ctx context.Context, rel *release.Release, cfg *config.Config) error {
	if len(cfg.Reload.Check) == 0 {
		return nil
	}
	if t := finite(cfg.Reload.Timeout); t > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, t, fmt.Errorf("it did not end within %v", t))
		defer cancel()
	}
	plan := planOf(rel)
	plan.Path = rel.CheckPath
	plan.Args, plan.Env = rel.Check(0)
	var words bytes.Buffer
	exit, err := runPlan(ctx, plan, &limited{&words, maxCheckOutput})
	switch {
	case err != nil:
		return control.Errorf(control.ExitUndone, "run the check %q: %w", plan.Path, err)
	case ctx.Err() != nil:
		return control.Errorf(control.ExitUndone, "the check %q was ended: %w", plan.Path, context.Cause(ctx))
	case !exit.Success():
		return control.Errorf(control.ExitUndone, "the check %q said no (%s)%s", plan.Path, exit, lastWords(words.String()))
	}
	return nil
}

func lastWords(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if last := logs.OneLine(lines[len(lines)-1]); last != "" {
		return ": " + last
	}
	return ""
}
