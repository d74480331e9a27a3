package control

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
)

// routes is the control API: what may be asked, and what may be asked for.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	s.questions(mux)
	s.commands(mux)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		reply(w, http.StatusNotFound, ErrorReply{Exit: ExitUsage,
			Error: fmt.Sprintf("no such call: %.20s %.100q; there are GET /status /version /events /changes/N and POST /reload /cancel /scale /recycle /upgrade /stop /job", r.Method, r.URL.Path)})
	})
	return s.guard(mux)
}

func (s *Server) questions(mux *http.ServeMux) {
	mux.HandleFunc("GET /status", s.plain(func(r *http.Request) (any, error) {
		st, err := s.pool.Status(r.Context())
		return st.whole(), err
	}))
	mux.HandleFunc("GET /version", s.plain(func(r *http.Request) (any, error) {
		st, err := s.pool.Status(r.Context())
		return VersionReply{Version: s.version, Pool: st.Pool}, err
	}))
	mux.HandleFunc("GET /changes/{n}", s.plain(func(r *http.Request) (any, error) {
		n, err := strconv.Atoi(r.PathValue("n"))
		if err != nil {
			return nil, Errorf(ExitUsage, "the number of a change is a number, not %q", r.PathValue("n"))
		}
		c, err := s.pool.Change(r.Context(), n)
		return c.whole(), err
	}))
	mux.HandleFunc("GET /events", func(w http.ResponseWriter, r *http.Request) {
		after, err := afterOf(r)
		s.stream(func(ctx context.Context, _ []byte) (Ticket, error) {
			if err != nil {
				return Ticket{}, err
			}
			return s.pool.Events(ctx, after)
		})(w, r)
	})
}

// afterOf is the number in /events?after=N; -1: none.
func afterOf(r *http.Request) (int, error) {
	text := r.URL.Query().Get("after")
	if text == "" {
		return -1, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, Errorf(ExitUsage, "after is the number of an event, not %q", text)
	}
	return n, nil
}

// scaleRequest tells a missing number from zero.
type scaleRequest struct {
	N        *int `json:"n"`
	Relative bool `json:"relative"`
}

func (s *Server) commands(mux *http.ServeMux) {
	mux.HandleFunc("POST /reload", command(s, s.pool.Reload))
	mux.HandleFunc("POST /recycle", command(s, s.pool.Recycle))
	mux.HandleFunc("POST /cancel", command(s, bare(s.pool.Cancel)))
	mux.HandleFunc("POST /upgrade", command(s, bare(s.pool.Upgrade)))
	mux.HandleFunc("POST /stop", command(s, bare(s.pool.Stop)))
	mux.HandleFunc("POST /scale", command(s, func(ctx context.Context, r scaleRequest) (Ticket, error) {
		if r.N == nil { // nobody means to scale to zero by leaving n out
			return Ticket{}, Errorf(ExitUsage, `the body of the request must give a number: {"n": 4} or {"n": 1, "relative": true}`)
		}
		return s.pool.Scale(ctx, ScaleRequest{N: *r.N, Relative: r.Relative})
	}))
	mux.HandleFunc("POST /job", command(s, func(ctx context.Context, r JobRequest) (Ticket, error) {
		if r.Fate != "stop" && r.Fate != "restart" {
			return Ticket{}, Errorf(ExitUsage, `the body of the request must say what becomes of the pool: {"fate": "stop"} or {"fate": "restart", "leave": true}`)
		}
		return s.pool.Job(ctx, r)
	}))
}

// command is a call with a body of one type, which opens a change.
func command[T any](s *Server, do func(context.Context, T) (Ticket, error)) http.HandlerFunc {
	return s.stream(func(ctx context.Context, body []byte) (Ticket, error) {
		var request T
		if err := decode(body, &request); err != nil {
			return Ticket{}, err
		}
		return do(ctx, request)
	})
}

// bare is a command that has nothing to say but itself.
func bare(do func(context.Context) (Ticket, error)) func(context.Context, struct{}) (Ticket, error) {
	return func(ctx context.Context, _ struct{}) (Ticket, error) { return do(ctx) }
}
