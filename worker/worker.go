// Package worker gives a Go program the best manners under fugue, or under any
// manager that hands sockets over as systemd does: its listeners by name, the
// word that it is ready, pings for the watchdog, and a stop that loses nothing.
// For net/http that is one call:
//
//	err := worker.Serve(&http.Server{Handler: mux})
//
// and ServeConns for anything else that accepts connections. In the stop, within
// a deadline: a connection that was accepted gets its first request answered; one
// that is kept alive gets its next answer with Connection: close, or a GOAWAY in
// HTTP/2, and is not closed between two requests of its client; websockets are
// told (Options.OnDrain, Draining) and waited for.
//
// The package imports nothing but the standard library, and keeps no state: what
// it knows comes from the environment, of which Listeners takes LISTEN_*.
package worker

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// firstFD is SD_LISTEN_FDS_START of sd_listen_fds(3).
const firstFD = 3

// Listeners returns the stream listeners handed over by the manager, by name
// (FileDescriptorName= in a .socket unit, the listener's name in fugue). A name
// can stand for several sockets; each name's are in the order of their numbers.
// The map is empty where nothing was handed to this process. Sockets of other
// kinds are left open and alone.
//
// The call takes LISTEN_FDS, LISTEN_PID, LISTEN_PIDFDID and LISTEN_FDNAMES out
// of the environment, as sd_listen_fds(3) can, so that a child does not take
// them for its own: a second call finds nothing. Closing a listener never
// removes a unix socket's file, which belongs to whoever bound it.
func Listeners() (map[string][]net.Listener, error) {
	names, err := inherited(os.Getenv, os.Getpid())
	for _, key := range []string{"LISTEN_FDS", "LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDNAMES"} {
		os.Unsetenv(key)
	}
	if err != nil {
		return nil, err
	}
	found := make(map[string][]net.Listener)
	for i, name := range names {
		fd := firstFD + i
		syscall.CloseOnExec(fd)
		listening, err := isStreamListener(fd)
		if err != nil {
			return nil, fmt.Errorf("look at inherited socket %d (%s): %w", fd, name, err)
		}
		if !listening {
			continue
		}
		l, err := takeListener(fd, name)
		if err != nil {
			return nil, err
		}
		found[name] = append(found[name], l)
	}
	return found, nil
}

// inherited returns the name of every handed over descriptor, in their order.
// LISTEN_PID must be ours: the variables of a parent that forgot to remove them
// describe descriptors that are not here.
func inherited(getenv func(string) string, pid int) ([]string, error) {
	count := getenv("LISTEN_FDS")
	if count == "" || getenv("LISTEN_PID") != strconv.Itoa(pid) {
		return nil, nil
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 {
		return nil, fmt.Errorf("read LISTEN_FDS: %q is not a count", count)
	}
	list := getenv("LISTEN_FDNAMES")
	if list == "" {
		names := make([]string, n)
		for i := range names {
			names[i] = "unknown" // what sd_listen_fds_with_names(3) says then
		}
		return names, nil
	}
	names := strings.Split(list, ":")
	if len(names) != n {
		return nil, fmt.Errorf("read LISTEN_FDNAMES: %d names for %d descriptors", len(names), n)
	}
	return names, nil
}

func isStreamListener(fd int) (bool, error) {
	kind, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_TYPE)
	if errors.Is(err, syscall.ENOTSOCK) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if kind != syscall.SOCK_STREAM {
		return false, nil
	}
	accepts, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_ACCEPTCONN)
	return accepts == 1, err
}

// takeListener leaves one descriptor open, not two: while the inherited number
// stays open beside the listener's own duplicate, closing the listener does not
// let go of the socket, and a plain stop would leave connections waiting that
// nobody will ever accept.
func takeListener(fd int, name string) (net.Listener, error) {
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("use inherited socket %d (%s): %w", fd, name, err)
	}
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	return l, nil
}
