package worker_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	"fugue/worker"
)

// programs are the workers of these tests that testworker is not.
var programs = map[string]func() int{
	"hijack by hook":    func() int { return hijack(true, guard) },
	"hijack by context": func() int { return hijack(false, guard) },
	"hijack deaf":       func() int { return hijack(true, 100*time.Millisecond) },
	"tls h2":            func() int { return serveTLS("h2", "http/1.1") },
	"tls http/1.1":      func() int { return serveTLS("http/1.1") },
	"impatient":         impatient,
	"lines":             func() int { return lines(guard) },
	"lines impatient":   func() int { return lines(100 * time.Millisecond) },
	"ill":               ill,
}

func code(err error) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		return 1
	}
	return 0
}

const goodbye = "bye\n"

// hijack serves connections that leave net/http: "hello" at first, goodbye when
// they are told to go, at once by the hook or by the request's context.
func hijack(byHook bool, timeout time.Duration) int {
	joined := make(chan net.Conn)
	begun := make(chan struct{})
	o := worker.Options{Timeout: timeout, OnDrain: func(context.Context) { close(begun) }}
	var all []net.Conn
	go func() {
		for {
			select {
			case c := <-joined:
				all = append(all, c)
			case <-begun:
				if byHook && timeout == guard {
					for _, c := range all {
						_, _ = io.WriteString(c, goodbye)
						c.Close()
					}
				}
				return
			}
		}
	}()
	return code(o.Serve(&http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		if byHook {
			joined <- c // before it is greeted: who has been is told at the end
		}
		_, _ = io.WriteString(c, "hello\n")
		if byHook {
			return
		}
		<-worker.Draining(r.Context())
		_, _ = io.WriteString(c, goodbye)
		c.Close()
	})}))
}

func serveTLS(protocols ...string) int {
	// Its certificate is good enough.
	made := httptest.NewTLSServer(http.NotFoundHandler())
	config := &tls.Config{Certificates: made.TLS.Certificates, NextProtos: protocols}
	made.Close()
	return code(worker.Options{IdleGrace: guard}.Serve(&http.Server{TLSConfig: config, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, r.Proto)
	})}))
}

// impatient has a deadline that its answers do not keep.
func impatient() int {
	return code(worker.Options{Timeout: 200 * time.Millisecond, IdleGrace: time.Millisecond}.Serve(
		&http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/never" {
				fmt.Fprintln(w, "begun")
				_ = http.NewResponseController(w).Flush()
				select {}
			}
		})}))
}

// lines answers line by line, until it is told to stop.
func lines(timeout time.Duration) int {
	return code(worker.Options{Timeout: timeout}.ServeConns(func(ctx context.Context, c net.Conn) {
		go func() {
			<-worker.Draining(ctx)
			_, _ = io.WriteString(c, goodbye)
		}()
		for in := bufio.NewReader(c); ; {
			line, err := in.ReadString('\n')
			if err != nil || line == "end\n" {
				return
			}
			_, _ = io.WriteString(c, line)
		}
	}))
}

// ill is alive for two pings.
func ill() int {
	n := 0
	return code(worker.Options{Alive: func() error {
		if n++; n > 2 {
			return errors.New("no database:\nconnection refused")
		}
		return nil
	}}.Serve(&http.Server{}))
}
