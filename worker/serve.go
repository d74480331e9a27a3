package worker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Drain says how long a stopping worker is patient. The zero value is good for
// most programs.
type Drain struct {
	// Timeout bounds the whole stop; what is still unanswered then is cut off.
	// Zero is 80 s, which is below the 90 s after which systemd kills by default.
	Timeout time.Duration
	// IdleGrace is how long connections on which nothing is asked may stay: a
	// client that uses a kept-alive connection again within it gets its answer,
	// with Connection: close, and does not meet a closed door. Zero is 5 s,
	// negative is none.
	IdleGrace time.Duration
	// Ready is called when the server serves. Nil is the function Ready, which
	// says READY=1; a program that must warm up first says so itself.
	Ready func() error
}

// Serve serves srv on every listener that was handed over, and on srv.Addr if
// none was, says READY=1, and returns after SIGTERM or SIGINT once every request
// is answered. See Drain.Serve; this is Drain{}.Serve(srv).
func Serve(srv *http.Server) error { return Drain{}.Serve(srv) }

// Serve is the function of that name with other patience. It uses TLS where
// srv.TLSConfig is set. It takes over srv.Handler, srv.ConnState and
// srv.ConnContext, calling those that were there. A nil error means that nothing
// was cut off.
//
// http.Server.Shutdown alone loses requests: a connection accepted before it,
// whose request is read after it began, is closed without an answer. So the
// listeners are closed first, then every accepted connection gets its request
// into the handler, and only then comes Shutdown.
func (d Drain) Serve(srv *http.Server) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, os.Interrupt)
	defer signal.Stop(stop)

	listeners, err := listenersFor(srv)
	if err != nil {
		return err
	}
	conns := watch(srv)
	serve := srv.Serve
	if srv.TLSConfig != nil { // asked here: the first Serve fills it in, for HTTP/2
		serve = func(l net.Listener) error { return srv.ServeTLS(l, "", "") }
	}
	ended := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { ended <- serve(l) }()
	}
	ready := d.Ready
	if ready == nil {
		ready = Ready
	}
	if err := ready(); err != nil {
		srv.Close()
		return fmt.Errorf("become ready: %w", err)
	}

	running := len(listeners)
	select {
	case err := <-ended:
		srv.Close()
		return fmt.Errorf("serve: %w", err)
	case <-stop:
	}
	conns.drain()
	// A manager that has gone away must not keep us from draining.
	_ = Notify("STOPPING=1")
	for _, l := range listeners {
		l.Close()
	}
	for ; running > 0; running-- {
		<-ended // after it every connection that was accepted is known to conns
	}
	return d.finish(srv, conns)
}

func (d Drain) finish(srv *http.Server, conns *connections) error {
	timeout, grace := d.Timeout, d.IdleGrace
	if timeout == 0 {
		timeout = 80 * time.Second
	}
	if grace == 0 {
		grace = 5 * time.Second
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	conns.settle(ctx, grace)
	err := srv.Shutdown(ctx)
	if err != nil {
		srv.Close()
		return fmt.Errorf("drain within %v: %w", timeout, err)
	}
	return nil
}

func listenersFor(srv *http.Server) ([]net.Listener, error) {
	byName, err := Listeners()
	if err != nil {
		return nil, err
	}
	var all []net.Listener
	for _, l := range byName {
		all = append(all, l...)
	}
	if len(all) > 0 {
		return all, nil
	}
	if srv.Addr == "" {
		return nil, errors.New("no listening socket was handed over (LISTEN_FDS): run this under fugue or a .socket unit, or set Server.Addr")
	}
	l, err := net.Listen("tcp", srv.Addr)
	if err != nil {
		return nil, err
	}
	return []net.Listener{l}, nil
}
