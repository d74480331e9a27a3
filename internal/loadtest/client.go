package loadtest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"fugue/internal/testworker"
)

// askOnce makes one connection for one request.
func askOnce(c Config, path string) Result {
	begin := time.Now()
	r := Result{Start: begin}
	conn, err := dial(c)
	if err == nil {
		defer conn.Close()
		r.Local = conn.LocalAddr().String()
		_, err = exchange(&r, conn, bufio.NewReader(conn), begin.Add(c.Timeout), path, "close")
	}
	r.end(err)
	return r
}

// names counts the names that Config.Named has given.
var names atomic.Int64

// dial waits where a blocking connect would: on a unix socket whose queue is
// full, connect(2) on a non-blocking socket fails with EAGAIN instead.
func dial(c Config) (net.Conn, error) {
	deadline := time.Now().Add(c.Timeout)
	d := net.Dialer{Deadline: deadline}
	if c.Network == "unix" && c.Named {
		// Abstract: nothing to remove, and free as soon as it is closed.
		d.LocalAddr = &net.UnixAddr{Net: "unix", Name: fmt.Sprintf("@load.%d.%d", os.Getpid(), names.Add(1))}
	}
	for {
		conn, err := d.Dial(c.Network, c.Address)
		if !errors.Is(err, syscall.EAGAIN) || time.Now().After(deadline) {
			return conn, err
		}
		<-time.After(time.Millisecond) // there is no event for "the queue has room"
	}
}

// exchange asks once on conn. It says whether the connection may be used again.
// The request goes out as one write, so that it is there when accept returns.
func exchange(r *Result, conn net.Conn, in *bufio.Reader, deadline time.Time, path, connection string) (again bool, err error) {
	if err := conn.SetDeadline(deadline); err != nil {
		return false, err
	}
	request := "GET " + path + " HTTP/1.1\r\nHost: load\r\nConnection: " + connection + "\r\n\r\n"
	if _, err := io.WriteString(conn, request); err != nil {
		return false, err
	}
	answer, err := http.ReadResponse(in, nil)
	if err != nil {
		return false, err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return false, err
	}
	h := answer.Header
	r.Version, r.PID = h.Get(testworker.HeaderVersion), h.Get(testworker.HeaderPID)
	r.Slot, r.Generation = h.Get(testworker.HeaderSlot), h.Get(testworker.HeaderGeneration)
	if answer.StatusCode != http.StatusOK {
		r.Class, r.Err = BadStatus, answer.Status
	}
	return !answer.Close, nil
}

func (r *Result) end(err error) {
	r.Took = time.Since(r.Start)
	if err != nil {
		r.Class, r.Err = classify(err), err.Error()
	} else if r.Class == "" {
		r.Class = OK
	}
}

func classify(err error) Class {
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return Refused
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNABORTED):
		return Reset
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return EOF
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return TimedOut
	}
	return Local
}

// keptClient asks on one connection for as long as the server lets it.
type keptClient struct {
	config Config
	conn   net.Conn
	in     *bufio.Reader
}

func (k *keptClient) ask(path string) Result {
	r := Result{Kept: true, Start: time.Now()}
	var err error
	if k.conn == nil {
		if k.conn, err = dial(k.config); err == nil {
			k.in = bufio.NewReader(k.conn)
		} else {
			k.conn = nil // not an interface around a nil pointer
		}
	}
	again := false
	if err == nil {
		r.Local = k.conn.LocalAddr().String()
		again, err = exchange(&r, k.conn, k.in, r.Start.Add(k.config.Timeout), path, "keep-alive")
	}
	r.end(err)
	if !again {
		k.close()
	}
	return r
}

// foundClosed looks, as a careful client does before it uses a connection again,
// whether the server has closed it meanwhile, and lets go of it then.
func (k *keptClient) foundClosed() bool {
	if k.conn == nil {
		return false
	}
	raw, err := k.conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return false
	}
	open := false
	err = raw.Read(func(fd uintptr) bool {
		_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		open = errors.Is(err, syscall.EAGAIN)
		return true
	})
	if err == nil && open {
		return false
	}
	k.close()
	return true
}

func (k *keptClient) close() {
	if k.conn != nil {
		k.conn.Close()
		k.conn = nil
	}
}
