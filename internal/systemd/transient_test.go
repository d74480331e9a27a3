package systemd

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	godbus "github.com/godbus/dbus/v5"
)

// A manager that executes itself anew hangs up wherever a question is: it is put
// again, also when the connection had ended before the question went out.
func TestWhoIsHungUpOnAsksAgain(t *testing.T) {
	for _, err := range []error{hungUpOn(t), io.EOF, os.ErrClosed, &net.OpError{Err: syscall.ECONNREFUSED}, syscall.EPIPE} {
		if !transient(err) {
			t.Errorf("given up: %v", err)
		}
	}
	for _, err := range []error{os.ErrNotExist, os.ErrPermission, errors.New("no such unit")} {
		if transient(err) {
			t.Errorf("asked again: %v", err)
		}
	}
}

// hungUpOn is the error of a question on a connection that the other side has
// ended.
func hungUpOn(t *testing.T) error {
	t.Helper()
	ours, theirs := net.Pipe()
	go func() {
		defer theirs.Close()
		for lines := bufio.NewScanner(theirs); lines.Scan(); {
			answer := "REJECTED EXTERNAL\r\n"
			switch line := lines.Text(); {
			case line == "BEGIN":
				return
			case strings.HasPrefix(line, "AUTH EXTERNAL"):
				answer = "OK 0\r\n"
			}
			if _, err := io.WriteString(theirs, answer); err != nil {
				return
			}
		}
	}()
	c, err := godbus.NewConn(ours)
	if err == nil {
		err = c.Auth([]godbus.Auth{godbus.AuthExternal("0")})
	}
	if err != nil {
		t.Fatal(err)
	}
	<-c.Context().Done()
	err = c.Object("org.freedesktop.systemd1", manager).Call("org.freedesktop.DBus.Peer.Ping", 0).Err
	if err == nil {
		t.Fatal("a connection that has ended answers")
	}
	return err
}
