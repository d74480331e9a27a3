package worker

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

// ServeConns calls handle with every connection to any listener that was handed
// over, says READY=1, and returns after SIGTERM or SIGINT once all have
// returned. See Options.ServeConns; this is Options{}.ServeConns(handle).
func ServeConns(handle func(context.Context, net.Conn)) error {
	return Options{}.ServeConns(handle)
}

// ServeConns is the function of that name with other options, of which IdleGrace
// has no meaning here: whether a connection owes an answer only handle knows. It
// is told by Draining(ctx) that it should come to an end, and has Timeout for it;
// then ctx ends and the connection is closed. It is closed when handle returns,
// too. A nil error means that every handle returned by itself.
func (o Options) ServeConns(handle func(context.Context, net.Conn)) error {
	o, err := o.withDefaults()
	if err != nil {
		return err
	}
	if len(o.Listeners) == 0 {
		return errNoListener
	}
	cs := newConnections()
	ctx, cancel := context.WithCancel(context.WithValue(context.Background(), begunKey, cs.begun))
	defer cancel()
	var handling sync.WaitGroup
	serve := func(l net.Listener) error {
		for {
			c, err := accept(l, cs.begun)
			if err != nil {
				return err
			}
			// To us it is what a hijacked connection is to net/http: its owner
			// closes it.
			cs.add(lifeOf(c), hijacked)
			handling.Go(func() {
				defer c.Close()
				handle(ctx, c)
			})
		}
	}
	return o.run(cs, server{
		serve: serve,
		drain: func(context.Context) {}, // run waits for the connections
		close: cancel,
	})
}

// accept waits where the machine is short of descriptors or memory: one moment
// of that must not end a worker. A connection that its client has already left
// is passed over.
func accept(l net.Listener, begun <-chan struct{}) (net.Conn, error) {
	const first, longest = 5 * time.Millisecond, time.Second
	for pause := first; ; {
		c, err := l.Accept()
		switch {
		case err == nil:
			return c, nil
		case errors.Is(err, syscall.ECONNABORTED):
			continue
		case !errors.Is(err, syscall.EMFILE) && !errors.Is(err, syscall.ENFILE) &&
			!errors.Is(err, syscall.ENOBUFS) && !errors.Is(err, syscall.ENOMEM):
			return nil, err
		}
		select {
		case <-time.After(pause):
		case <-begun:
			return nil, err
		}
		pause = min(2*pause, longest)
	}
}
