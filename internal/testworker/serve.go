package testworker

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"fugue/worker"
)

// Headers of every answer.
const (
	HeaderVersion    = "X-Version"
	HeaderPID        = "X-Pid"
	HeaderSlot       = "X-Slot"       // FUGUE_WORKER
	HeaderGeneration = "X-Generation" // FUGUE_GENERATION
)

// Environment is the answer to /env: what the worker was started with.
type Environment struct {
	PID, PPID, PGID, SID int
	UID, GID             int
	Args                 []string
	Dir                  string
	Env                  []string
	FDs                  map[int]string // open at start: number and what /proc says it is
}

// atStart is taken before package worker takes LISTEN_* out of the environment.
func atStart() Environment {
	e := Environment{
		PID: os.Getpid(), PPID: os.Getppid(), PGID: syscall.Getpgrp(),
		UID: os.Getuid(), GID: os.Getgid(),
		Args: os.Args, Env: os.Environ(), FDs: make(map[int]string),
	}
	if sid, _, errno := syscall.RawSyscall(syscall.SYS_GETSID, 0, 0, 0); errno == 0 {
		e.SID = int(sid)
	}
	e.Dir, _ = os.Getwd()
	links, _ := filepath.Glob("/proc/self/fd/*")
	for _, link := range links {
		fd, err := strconv.Atoi(filepath.Base(link))
		if err != nil {
			continue
		}
		if target, err := os.Readlink(link); err == nil {
			e.FDs[fd] = target
		}
	}
	return e
}

func (b Behaviour) handler() http.Handler {
	env := atStart()
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		wait(b.Delay)
		fmt.Fprintln(w, b.Version)
	})
	// /slow?ms=2000 answers after that time.
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		ms, _ := strconv.Atoi(r.FormValue("ms"))
		wait(time.Duration(ms) * time.Millisecond)
		fmt.Fprintln(w, b.Version)
	})
	mux.HandleFunc("/env", func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(env)
	})
	// /crash?code=3 or /crash?signal=11 ends the worker without an answer.
	mux.HandleFunc("/crash", func(w http.ResponseWriter, r *http.Request) {
		dying := b
		dying.DieCode, _ = strconv.Atoi(r.FormValue("code"))
		dying.DieSignal, _ = strconv.Atoi(r.FormValue("signal"))
		dying.die()
	})
	// /notify?state=STATUS=x sends a datagram from the worker's own process.
	mux.HandleFunc("/notify", func(w http.ResponseWriter, r *http.Request) {
		if err := worker.Notify(r.FormValue("state")); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
		}
	})
	// /print?stderr=line&stdout=line writes lines.
	mux.HandleFunc("/print", func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		for _, line := range r.Form["stderr"] {
			io.WriteString(os.Stderr, line+"\n")
		}
		for _, line := range r.Form["stdout"] {
			io.WriteString(os.Stdout, line+"\n")
		}
	})
	// /alloc?mb=100 keeps that much memory, touched.
	hoard := make(chan [][]byte, 1)
	hoard <- nil
	mux.HandleFunc("/alloc", func(w http.ResponseWriter, r *http.Request) {
		mb, _ := strconv.Atoi(r.FormValue("mb"))
		block := make([]byte, mb<<20)
		for i := 0; i < len(block); i += 4096 {
			block[i] = 1
		}
		hoard <- append(<-hoard, block)
	})
	return b.stamp(mux)
}

func (b Behaviour) stamp(next http.Handler) http.Handler {
	pid, slot, generation := strconv.Itoa(os.Getpid()), os.Getenv("FUGUE_WORKER"), os.Getenv("FUGUE_GENERATION")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set(HeaderVersion, b.Version)
		h.Set(HeaderPID, pid)
		h.Set(HeaderSlot, slot)
		h.Set(HeaderGeneration, generation)
		next.ServeHTTP(w, r)
	})
}

func (b Behaviour) serve(srv *http.Server) error {
	if b.Drain == "right" && !b.IgnoreTerm {
		return worker.Options{IdleGrace: b.IdleGrace, Ready: b.becomeReady}.Serve(srv)
	}
	listeners, err := b.listen()
	if err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	if !b.IgnoreTerm {
		signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	}
	ended := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { ended <- srv.Serve(l) }()
	}
	if err := b.becomeReady(); err != nil {
		return err
	}
	select {
	case err := <-ended:
		return err
	case <-stop:
	}
	if b.Drain == "none" {
		return nil
	}
	return srv.Shutdown(context.Background())
}

func (b Behaviour) becomeReady() error {
	if b.Ready {
		if err := worker.Ready(); err != nil {
			return err
		}
	}
	for _, state := range b.NotifyAfter {
		if err := worker.Notify(state); err != nil {
			return err
		}
	}
	if b.DieAfter > 0 {
		time.AfterFunc(b.DieAfter, b.die)
	}
	return nil
}

func (b Behaviour) listen() ([]net.Listener, error) {
	byName, err := worker.Listeners()
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
	l, err := net.Listen("tcp", b.Addr)
	if err != nil {
		return nil, err
	}
	return []net.Listener{l}, nil
}
