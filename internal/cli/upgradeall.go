package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"fugue/internal/control"
)

// upgraded is one pool in the answer of `upgrade --all`.
type upgraded struct {
	Pool    string `json:"pool"`
	PID     int    `json:"pid"` // of the master, before and after
	Exit    int    `json:"exit"`
	Message string `json:"message"`
}

// upgradeAll hands over every pool that runs: each gets a line, in the order of
// their ends, and what ended worst decides the exit code. None is passed over in
// silence: one that may not be looked at, or that does not answer, is a failure.
// One that has ended meanwhile is not.
func (a *app) upgradeAll(ctx context.Context, out format, patience time.Duration) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ends := make(chan upgraded)
	n := 0
	for _, e := range a.finder.Pools() {
		if !e.Running && e.Err == nil {
			continue
		}
		n++
		// All at once: one that waits for its rollout must not hold up the others.
		go func() { ends <- a.upgradeOne(ctx, e, patience) }()
	}
	list, failed, exit := []upgraded{}, 0, control.ExitOK
	for range n {
		u := <-ends
		list = append(list, u)
		if !out.json() {
			fmt.Fprintf(a.out, "%s: %s\n", printable(u.Pool), printable(u.Message))
		}
		switch {
		case u.Exit == control.ExitOK:
			continue
		case failed > 0 && u.Exit != exit:
			exit = control.ExitFailed // of several kinds
		default:
			exit = u.Exit
		}
		failed++
	}
	if out.json() {
		if err := a.printJSON(list); err != nil {
			return err
		}
	} else if n == 0 {
		fmt.Fprintln(a.out, "no pool is running")
	}
	if failed == 0 {
		return nil
	}
	return &fault{exit: exit, text: fmt.Sprintf("%d of %s not upgraded: there the fugue from before goes on", failed, count(n, "pool"))}
}

func (a *app) upgradeOne(ctx context.Context, e control.Entry, patience time.Duration) upgraded {
	u := upgraded{Pool: e.Name, PID: e.PID}
	ch, err := a.handOver(ctx, e)
	var said *control.Error
	switch {
	case err == nil:
		u.Exit, u.Message = ch.Exit, ch.Message
		if ch.Exit == control.ExitOK && u.Message == "" {
			u.Message = "upgraded"
		}
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		u.Exit, u.Message = control.ExitFailed, fmt.Sprintf("no verdict in %v: it goes on; fugue status %s tells how it ends", patience, e.Name)
	case ctx.Err() != nil:
		u.Exit, u.Message = control.ExitFailed, "no longer waited for: it goes on"
	case errors.As(err, &said) && (said.Exit == control.ExitNotRunning || said.Exit == control.ExitNoPool):
		u.Message = "it has ended meanwhile"
	default:
		u.Exit, u.Message = control.ExitFailed, err.Error()
		if said != nil {
			u.Exit = said.Exit
		}
	}
	return u
}

func (a *app) handOver(ctx context.Context, e control.Entry) (control.Change, error) {
	if e.Err != nil {
		return control.Change{}, e.Err
	}
	c, err := a.finder.Dial(e.Name)
	if err != nil {
		return control.Change{}, err
	}
	s, err := c.Upgrade(ctx)
	if err != nil {
		return control.Change{}, err
	}
	defer s.Close()
	return c.Follow(ctx, s, func(control.Event, []byte) {})
}
