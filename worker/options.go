package worker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Options are how a worker starts and how patient it is when it is to stop. The
// zero value is good for most programs.
type Options struct {
	// Listeners to serve. Nil is all that were handed over. A program with
	// several servers takes them from the function Listeners itself, and gives
	// each its own; then Ready is to be set in all, so that only one speaks, and
	// late enough.
	Listeners []net.Listener

	// Timeout bounds the whole stop; what is still unanswered then is cut off.
	// Zero is 25 s, a little less than the 30 s of stop.timeout in fugue after
	// which it kills: where that is set, set this.
	Timeout time.Duration
	// IdleGrace is how long connections on which nothing is asked may stay: a
	// client that uses a kept-alive connection again within it gets its answer,
	// with Connection: close, and does not meet a closed door. Zero is 5 s,
	// negative is none. A connection whose first request is still to come is
	// waited for until Timeout; http.Server.ReadHeaderTimeout makes that shorter.
	IdleGrace time.Duration

	// Ready is called when the server serves. Nil is the function Ready, which
	// says READY=1; a program that must warm up first says so itself.
	Ready func() error
	// Alive is asked before each WATCHDOG=1 where the manager watches
	// (WATCHDOG_USEC): with an error, or without an answer, no ping is sent, and
	// the manager ends this worker when it has had none for long enough. The
	// error is shown as the worker's status. Nil is always alive, which still
	// finds a process that the kernel or the runtime does not let run.
	Alive func() error
	// OnDrain is called once when the drain begins, to tell those whom net/http
	// does not know any more: hijacked connections, websockets. Its context ends
	// with the Timeout. The stop waits for its return, and for every hijacked
	// connection to be closed. See Draining for the same from within a handler.
	OnDrain func(context.Context)
}

func (o Options) withDefaults() (Options, error) {
	if o.Timeout == 0 {
		o.Timeout = 25 * time.Second
	}
	if o.IdleGrace == 0 {
		o.IdleGrace = 5 * time.Second
	}
	if o.Ready == nil {
		o.Ready = Ready
	}
	if o.OnDrain == nil {
		o.OnDrain = func(context.Context) {}
	}
	if o.Listeners != nil {
		return o, nil
	}
	byName, err := Listeners()
	for _, l := range byName {
		o.Listeners = append(o.Listeners, l...)
	}
	return o, err
}

var errNoListener = errors.New("no listening socket was handed over (LISTEN_FDS): run this under fugue or a .socket unit")

// Draining returns a channel that is closed when the stop of the worker begins.
// The context is that of a request served by Serve, or the one that ServeConns
// gives: a handler that streams, or holds a websocket, says goodbye then. Nil,
// which never tells anything, for other contexts.
func Draining(ctx context.Context) <-chan struct{} {
	begun, _ := ctx.Value(begunKey).(chan struct{})
	return begun
}

// server is what differs between net/http and plain connections.
type server struct {
	serve func(net.Listener) error // until the listener is closed
	drain func(context.Context)    // until nothing is owed to anybody, or the context ends
	close func()                   // at once
}

// run is the life of a worker: it serves, says so, pings, and drains after
// SIGTERM or SIGINT.
func (o Options) run(cs *connections, s server) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, os.Interrupt)
	defer signal.Stop(stop)

	ended := make(chan error, len(o.Listeners))
	for _, l := range o.Listeners {
		go func() { ended <- s.serve(tracked{l, cs.forget}) }()
	}
	if err := o.Ready(); err != nil {
		s.close()
		return fmt.Errorf("become ready: %w", err)
	}
	defer o.watchdog()()

	running := len(o.Listeners)
	select {
	case err := <-ended:
		s.close()
		return fmt.Errorf("serve: %w", err)
	case <-stop:
	}
	cs.drain()
	// A manager that has gone away must not keep us from draining.
	_ = Notify("STOPPING=1")
	ctx, cancel := context.WithTimeout(context.Background(), o.Timeout)
	defer cancel()
	told := make(chan struct{})
	go func() {
		defer close(told)
		o.OnDrain(ctx)
	}()
	for _, l := range o.Listeners {
		l.Close()
	}
	for ; running > 0; running-- {
		<-ended // after it every connection that was accepted is known to cs
	}
	s.drain(ctx)
	cs.await(ctx, func(n [places]int) bool { return n[hijacked] == 0 })
	select {
	case <-told:
	case <-ctx.Done():
	}
	cut := cs.end()
	s.close()
	if cut > 0 {
		return fmt.Errorf("drain within %v: %d connections were cut off", o.Timeout, cut)
	}
	return nil
}
