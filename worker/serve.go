package worker

import (
	"context"
	"net"
	"net/http"
)

// Serve serves srv on every listener that was handed over, and on srv.Addr if
// none was, says READY=1, and returns after SIGTERM or SIGINT once every request
// is answered. See Options.Serve; this is Options{}.Serve(srv).
func Serve(srv *http.Server) error { return Options{}.Serve(srv) }

// Serve is the function of that name with other options. It uses TLS where
// srv.TLSConfig is set, and then HTTP/2 as net/http does: such a connection is
// told by GOAWAY with its next answer, or after IdleGrace. It takes over
// srv.Handler, srv.ConnState and srv.ConnContext, calling those that were there.
// A nil error means that no answer was cut off and every websocket had its end.
//
// http.Server.Shutdown alone loses requests: a connection accepted before it,
// whose request is read after it began, is closed without an answer. So the
// listeners are closed first, then every accepted connection gets its request
// into the handler, and only then comes Shutdown.
func (o Options) Serve(srv *http.Server) error {
	o, err := o.withDefaults()
	if err != nil {
		return err
	}
	if len(o.Listeners) == 0 {
		if srv.Addr == "" {
			return errNoListener
		}
		l, err := net.Listen("tcp", srv.Addr)
		if err != nil {
			return err
		}
		o.Listeners = append(o.Listeners, l)
	}
	cs := newConnections()
	cs.watch(srv)
	serve := srv.Serve
	if srv.TLSConfig != nil { // asked here: the first Serve fills it in, for HTTP/2
		serve = func(l net.Listener) error { return srv.ServeTLS(l, "", "") }
	}
	return o.run(cs, server{
		serve: serve,
		drain: func(ctx context.Context) {
			cs.settle(ctx, o.IdleGrace)
			_ = srv.Shutdown(ctx) // what it leaves, cs knows
		},
		close: func() { srv.Close() },
	})
}
