package worker

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// place is where a connection is between two requests.
type place int

const (
	fresh    place = iota // accepted, no request has come yet
	reading               // a request has come, no handler has it yet
	serving               // the handler has it, or its answer is just being sent
	closing               // the same, and the answer says Connection: close
	idle                  // kept alive, nothing asked
	hijacked              // no longer net/http's: a websocket, say
	places
)

// connections counts the server's connections by place. The hooks of net/http
// run on every connection's own goroutine, hence the mutex.
type connections struct {
	begun   chan struct{} // closed when the drain begins
	changed chan struct{} // holds one token: something moved while draining

	mu    sync.Mutex
	at    map[*life]place
	count [places]int
}

func newConnections() *connections {
	return &connections{begun: make(chan struct{}), changed: make(chan struct{}, 1), at: make(map[*life]place)}
}

type contextKey struct{ what string }

var (
	lifeKey  = contextKey{"connection"}
	begunKey = contextKey{"draining"}
)

// watch hooks itself into srv, in front of what is there.
func (cs *connections) watch(srv *http.Server) {
	connContext := srv.ConnContext
	srv.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if connContext != nil {
			ctx = connContext(ctx, c)
		}
		ctx = context.WithValue(ctx, begunKey, cs.begun)
		return context.WithValue(ctx, lifeKey, lifeOf(c))
	}
	connState := srv.ConnState
	srv.ConnState = func(c net.Conn, state http.ConnState) {
		l := lifeOf(c)
		switch state {
		case http.StateNew:
			cs.add(l, fresh)
		case http.StateActive:
			cs.move(l, reading)
		case http.StateIdle:
			cs.move(l, idle)
		case http.StateHijacked:
			cs.move(l, hijacked)
		case http.StateClosed:
			cs.forget(l)
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
		if cs.draining() {
			// Not SetKeepAlivesEnabled(false): that closes idle connections
			// under the next request of their clients. HTTP/2 makes a GOAWAY
			// of this header.
			w.Header().Set("Connection", "close")
			to = closing
		}
		if l, ok := r.Context().Value(lifeKey).(*life); ok {
			cs.move(l, to)
		}
		handler.ServeHTTP(w, r)
	})
}

func (cs *connections) drain() { close(cs.begun) }

func (cs *connections) draining() bool {
	select {
	case <-cs.begun:
		return true
	default:
		return false
	}
}

func (cs *connections) add(l *life, to place) {
	cs.mu.Lock()
	cs.at[l] = to
	cs.count[to]++
	cs.mu.Unlock()
}

// move leaves a connection alone that is gone: HTTP/2 runs handlers beside the
// connection, and what they tell can come after its end.
func (cs *connections) move(l *life, to place) {
	cs.mu.Lock()
	if was, known := cs.at[l]; known {
		cs.count[was]--
		cs.at[l] = to
		cs.count[to]++
	}
	cs.mu.Unlock()
	cs.tell()
}

func (cs *connections) forget(l *life) {
	cs.mu.Lock()
	if was, known := cs.at[l]; known {
		cs.count[was]--
		delete(cs.at, l)
	}
	cs.mu.Unlock()
	cs.tell()
}

func (cs *connections) tell() {
	if !cs.draining() {
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

// await waits until the counts are enough; ok is false where ctx ended first.
func (cs *connections) await(ctx context.Context, enough func([places]int) bool) (ok bool) {
	for !enough(cs.counts()) {
		select {
		case <-cs.changed:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// settle waits until Shutdown does no harm. No request may be on its way into a
// handler, and no connection may be one on which the first is still to come:
// Shutdown would close it without an answer. And for as long as grace lasts, no
// connection may be one that its client can still use: an idle one, or one whose
// answer was sent, or will be, without Connection: close.
func (cs *connections) settle(ctx context.Context, grace time.Duration) {
	patience, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	cs.await(patience, func(n [places]int) bool {
		return n[fresh]+n[reading]+n[idle]+n[serving] == 0
	})
	cs.await(ctx, func(n [places]int) bool { return n[fresh]+n[reading] == 0 })
}

// end closes those that were hijacked, and tells how many connections were cut
// off in something: quiet ones owe nobody an answer.
func (cs *connections) end() (cut int) {
	n := cs.counts()
	cs.mu.Lock()
	var left []*life
	for l, at := range cs.at {
		if at == hijacked {
			left = append(left, l)
		}
	}
	cs.mu.Unlock()
	for _, l := range left {
		l.close()
	}
	return n[reading] + n[serving] + n[closing] + n[hijacked]
}
