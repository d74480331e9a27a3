package servers_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// finishes stops the pool with a request of two seconds under way, and tells
// whether it was answered. address is where to ask; the pool's own is where the
// request is seen to have been read.
func finishes(t *testing.T, p *pool, address string) bool {
	t.Helper()
	c, err := net.DialTimeout("tcp", address, guard)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(guard))
	if _, err := io.WriteString(c, strings.Replace(request, "GET /", "GET /slow?ms=2000", 1)); err != nil {
		t.Fatal(err)
	}
	awaitRead(t, p.Address)
	if err := p.run.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	answered := isAnswered(c)
	select {
	case <-p.ended:
	case <-time.After(guard):
		t.Fatal("fugue did not end after SIGTERM")
	}
	return answered
}

// awaitRead waits until a server has read all that was sent on a connection to
// this address. Nothing tells when, so it looks at the kernel's table again and
// again.
func awaitRead(t *testing.T, address string) {
	t.Helper()
	_, port, _ := net.SplitHostPort(address)
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	local := fmt.Sprintf(":%04X", n)
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for end := time.Now().Add(guard); time.Now().Before(end); <-look.C {
		table, err := os.ReadFile("/proc/net/tcp")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(table)) {
			f := strings.Fields(line)
			if len(f) < 10 || !strings.HasSuffix(f[1], local) || f[3] != "01" || f[9] == "0" {
				continue // not established, or not accepted: it has no inode
			}
			// PHP leaves the end of a request's body, a record of 8 bytes, until
			// the script asks for it.
			_, queue, _ := strings.Cut(f[4], ":")
			if n, err := strconv.ParseUint(queue, 16, 32); err == nil && n <= 8 {
				return
			}
		}
	}
	t.Fatal("no server has read the request")
}
