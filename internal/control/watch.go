package control

import (
	"context"
	"time"
)

// Watch hands each event of the pool to each, from now on, over the ends of
// masters: none twice, and none left out, of which the pool does not say so
// itself by an event of kind lost. It returns when the pool has been stopped
// (nil), when it went away and no other master came, when ctx ends, and with
// what each returns.
func (c *Client) Watch(ctx context.Context, each func(Event, []byte) error) error {
	s, err := c.Events(ctx, -1)
	if err != nil {
		return err
	}
	after := s.Last
	for {
		stopped, err := watch(s, &after, each)
		s.Close()
		if err != nil {
			return err
		}
		if s, err = c.again(ctx, after, stopped); s == nil {
			return err
		}
	}
}

// watch reads one stream to its end.
func watch(s *Stream, after *int, each func(Event, []byte) error) (stopped bool, err error) {
	for {
		e, line, err := s.Next()
		if err != nil {
			return stopped, nil //nolint:nilerr // the end of a master, not of the pool
		}
		if e.Seq != 0 {
			*after = e.Seq
		}
		if err := each(e, line); err != nil {
			return false, err
		}
		stopped = e.Change != nil && e.Change.Kind == "stop" && e.Change.State == ChangeDone
	}
}

// again follows the next master, which it waits for; after a stop there is
// none, and nothing to say.
func (c *Client) again(ctx context.Context, after int, stopped bool) (*Stream, error) {
	for last := time.Now(); ; {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		running, err := held(c.entry.Dir)
		switch {
		case running:
			last = time.Now()
			s, err := c.Events(ctx, after)
			if err == nil {
				return s, nil
			}
			if exitOf(err) == ExitDenied {
				return nil, err
			}
		case err == nil && stopped:
			return nil, nil
		case err == nil && time.Since(last) >= c.patience:
			return nil, Errorf(ExitFailed, "pool %s went away, and no other master came", c.entry.Name)
		}
		select { // for a successor: nothing tells of its coming
		case <-time.After(retry):
		case <-ctx.Done():
		}
	}
}
