package worker

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// place is where a connection is between two requests.
type place int

const (
	fresh   place = iota // accepted, nothing read yet
	reading              // a request has begun to arrive, no handler has it yet
	serving              // the handler has it, or its answer is just being sent
	closing              // the same, and the answer says Connection: close
	idle                 // kept alive, nothing asked
	places
)

// connections counts the server's connections by place. The hooks of net/http
// run on every connection's own goroutine, hence the mutex.
type connections struct {
	draining atomic.Bool
	changed  chan struct{} // holds one token: something moved while draining

	mu    sync.Mutex
	at    map[net.Conn]place
	count [places]int
}

type connKey struct{}

// watch hooks itself into srv, in front of what is there.
func watch(srv *http.Server) *connections {
	cs := &connections{changed: make(chan struct{}, 1), at: make(map[net.Conn]place)}

	connContext := srv.ConnContext
	srv.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if connContext != nil {
			ctx = connContext(ctx, c)
		}
		return context.WithValue(ctx, connKey{}, c)
	}
	connState := srv.ConnState
	srv.ConnState = func(c net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			cs.move(c, fresh)
		case http.StateActive:
			cs.move(c, reading)
		case http.StateIdle:
			cs.move(c, idle)
		case http.StateHijacked, http.StateClosed:
			cs.forget(c)
		}
		if connState != nil {
			connState(c, state)
		}
	}
	handler := srv.Handler
	if handler == nil {
		handler = http.DefaultServeMux
	}
	srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		to := serving
		if cs.draining.Load() {
			// Not SetKeepAlivesEnabled(false): that closes idle connections
			// under the next request of their clients.
			w.Header().Set("Connection", "close")
			to = closing
		}
		if c, ok := r.Context().Value(connKey{}).(net.Conn); ok {
			cs.enter(c, to)
		}
		handler.ServeHTTP(w, r)
	})
	return cs
}

func (cs *connections) drain() { cs.draining.Store(true) }

func (cs *connections) move(c net.Conn, to place) {
	cs.mu.Lock()
	if was, known := cs.at[c]; known {
		cs.count[was]--
	}
	cs.at[c] = to
	cs.count[to]++
	cs.mu.Unlock()
	cs.tell()
}

// enter notes that a request has reached the handler. HTTP/2 runs handlers beside
// the connection, which may be gone by then and must not be counted again.
func (cs *connections) enter(c net.Conn, to place) {
	cs.mu.Lock()
	if was, known := cs.at[c]; known {
		cs.count[was]--
		cs.at[c] = to
		cs.count[to]++
	}
	cs.mu.Unlock()
	cs.tell()
}

func (cs *connections) forget(c net.Conn) {
	cs.mu.Lock()
	if was, known := cs.at[c]; known {
		cs.count[was]--
		delete(cs.at, c)
	}
	cs.mu.Unlock()
	cs.tell()
}

func (cs *connections) tell() {
	if !cs.draining.Load() {
		return
	}
	select {
	case cs.changed <- struct{}{}:
	default: // a token is there already
	}
}

func (cs *connections) counts() [places]int {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return cs.count
}

// settle waits until Shutdown does no harm. No request may be on its way into a
// handler: Shutdown would close its connection without an answer. And for as
// long as grace lasts, no connection may be one that its client can still use:
// idle ones, and those whose answer was sent, or will be, without
// Connection: close.
func (cs *connections) settle(ctx context.Context, grace time.Duration) {
	patience := time.NewTimer(max(grace, 0))
	defer patience.Stop()
	over := grace < 0
	for {
		n := cs.counts()
		if n[reading] == 0 && (over || n[fresh]+n[idle]+n[serving] == 0) {
			return
		}
		select {
		case <-cs.changed:
		case <-patience.C:
			over = true
		case <-ctx.Done():
			return
		}
	}
}
