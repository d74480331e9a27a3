package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// Server answers on a control socket until it is closed.
type Server struct {
	pool    Pool
	version string
	limits  limits
	access  atomic.Pointer[Access]
	http    *http.Server
	served  chan struct{} // closed when no more connections are accepted
	hangUp  chan struct{} // closed by HangUp
}

// changeHeader carries the number of a change at once, before its events.
const changeHeader = "Fugue-Change"

// eventHeader carries the number of the last event before the stream.
const eventHeader = "Fugue-Event"

// Serve answers on s for pool, from goroutines of its own. version is the
// master's. The Socket stays the caller's.
func Serve(s *Socket, pool Pool, access Access, version string) (*Server, error) {
	return serve(s, pool, access, version, defaultLimits)
}

func serve(s *Socket, pool Pool, access Access, version string, lim limits) (*Server, error) {
	l, err := s.listener()
	if err != nil {
		return nil, err
	}
	sv := &Server{pool: pool, version: version, limits: lim, served: make(chan struct{}), hangUp: make(chan struct{})}
	sv.access.Store(&access)
	sv.http = &http.Server{
		Handler:           sv.routes(),
		MaxHeaderBytes:    lim.header,
		ReadHeaderTimeout: lim.send,
		ReadTimeout:       lim.send,
		IdleTimeout:       lim.send,
		ErrorLog:          log.New(io.Discard, "", 0),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, guestKey{}, c)
		},
	}
	go func() {
		defer close(sv.served)
		_ = sv.http.Serve(&door{UnixListener: l, access: &sv.access, limits: lim})
	}()
	return sv, nil
}

// Close stops accepting, lets answers under way end until ctx does, and then
// cuts what is left. New connections queue on the Socket, for a successor.
func (s *Server) Close(ctx context.Context) {
	if s.http.Shutdown(ctx) != nil {
		s.http.Close()
	}
	<-s.served
}

// HangUp ends the streams under way at once, without the ends of their
// changes: who follows one asks the successor about it. Other answers are not
// touched. It is called once, before Close.
func (s *Server) HangUp() { close(s.hangUp) }

// Permit changes who may do what, for connections from now on.
func (s *Server) Permit(access Access) { s.access.Store(&access) }

type guestKey struct{}

// guard lets through what the guest may do, with a body of bounded size.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g, ok := r.Context().Value(guestKey{}).(*guest)
		if !ok || g.right != everything && r.Method != http.MethodGet {
			why := Errorf(ExitDenied, "who asks is not known")
			if ok {
				why = g.why
			}
			w.Header().Set("Connection", "close")
			reply(w, httpStatus(why), ErrorReply{Error: why.Error(), Exit: why.Exit})
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, s.limits.body)
		next.ServeHTTP(w, r)
	})
}

// decode reads the optional JSON body of a request, strictly: a key misspelt
// must not be a reload of another kind.
func decode(body []byte, into any) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil {
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			return nil
		}
		err = errors.New("there is more than one value")
	}
	return Errorf(ExitUsage, "read the body of the request: %w", err)
}

// plain answers with one JSON object.
func (s *Server) plain(call func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := call(r)
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.limits.send))
		if err != nil {
			refusal(w, err)
			return
		}
		reply(w, http.StatusOK, v)
	}
}

// stream answers with one JSON object a line for as long as it takes, each sent
// at once. The head goes out before the first, so that the client knows that
// it was heard.
func (s *Server) stream(call func(context.Context, []byte) (Ticket, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		conn := http.NewResponseController(w)
		// To its end: then net/http drops the deadline of sending, and reads on
		// only to see the client leave.
		body, err := io.ReadAll(r.Body)
		if err != nil {
			refusal(w, Errorf(ExitUsage, "read the request: %w", err))
			return
		}
		ticket, err := call(r.Context(), body)
		if err != nil {
			_ = conn.SetWriteDeadline(time.Now().Add(s.limits.send))
			refusal(w, err)
			return
		}
		w.Header().Set("Content-Type", "application/jsonl")
		if ticket.Change != 0 {
			w.Header().Set(changeHeader, strconv.Itoa(ticket.Change))
		}
		if ticket.Last != 0 {
			w.Header().Set(eventHeader, strconv.Itoa(ticket.Last))
		}
		conn.Flush()
		out := json.NewEncoder(w)
		for {
			select {
			case e, ok := <-ticket.Events:
				if !ok || out.Encode(e.whole()) != nil || conn.Flush() != nil {
					return
				}
			case <-s.hangUp:
				// What was said already is heard.
				for {
					select {
					case e, ok := <-ticket.Events:
						if !ok || out.Encode(e.whole()) != nil {
							return
						}
					default:
						return
					}
				}
			case <-r.Context().Done():
				return
			}
		}
	}
}

func refusal(w http.ResponseWriter, err error) {
	if tooBig := (*http.MaxBytesError)(nil); errors.As(err, &tooBig) {
		reply(w, http.StatusRequestEntityTooLarge, ErrorReply{Exit: ExitUsage,
			Error: fmt.Sprintf("the request is larger than %d bytes", tooBig.Limit)})
		return
	}
	reply(w, httpStatus(err), ErrorReply{Error: err.Error(), Exit: exitOf(err)})
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // an error is the client's leaving
}
