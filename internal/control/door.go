package control

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// limits bound what clients can cost. Tests choose smaller ones.
type limits struct {
	conns  int           // connections at a time
	body   int64         // bytes of a request's body
	header int           // bytes of a request's head
	send   time.Duration // to send a request, and to take a plain answer
}

var defaultLimits = limits{conns: 64, body: 64 << 10, header: 16 << 10, send: 5 * time.Second}

// door is the listener that net/http accepts from: it lets in those who have
// any right while there is room, and answers all others itself. Those who may
// only look get half of the room, so that they cannot keep an operator out.
type door struct {
	*net.UnixListener
	access  *atomic.Pointer[Access]
	limits  limits
	inside  atomic.Int64 // all connections let in
	looking atomic.Int64 // of these, the ones that may only look
	refusal atomic.Int64 // those being answered by refuse
}

// guest is a connection that was let in.
type guest struct {
	*net.UnixConn
	right right
	why   *Error // why not everything
	leave func()
}

// Close ends the connection and makes room.
func (g *guest) Close() error {
	g.leave()
	return g.UnixConn.Close()
}

// Accept waits for the next connection that is let in.
func (d *door) Accept() (net.Conn, error) {
	for {
		c, err := d.AcceptUnix()
		if err != nil {
			return nil, err
		}
		p, err := peerOf(c)
		if err != nil {
			c.Close()
			continue
		}
		right, why := d.access.Load().right(p)
		if right == nothing {
			d.refuse(c, httpStatus(why), why)
			continue
		}
		if g := d.enter(c, right, why); g != nil {
			return g, nil
		}
		d.refuse(c, http.StatusServiceUnavailable, Errorf(ExitBusy, "too many connections to the control socket: try again"))
	}
}

// enter counts a connection in, or returns nil where there is no room. Only
// Accept calls it, so that the counts cannot grow in between.
func (d *door) enter(c *net.UnixConn, r right, why *Error) *guest {
	room := int64(d.limits.conns)
	looks := r == reading
	if d.inside.Load() >= room || looks && d.looking.Load() >= room/2 {
		return nil
	}
	d.inside.Add(1)
	if looks {
		d.looking.Add(1)
	}
	leave := sync.OnceFunc(func() {
		d.inside.Add(-1)
		if looks {
			d.looking.Add(-1)
		}
	})
	return &guest{UnixConn: c, right: r, why: why, leave: leave}
}

// refuse answers and closes. It first takes in the request, for a short while:
// closing on unread bytes would reset the client, which then might never see
// the answer. When many are refused at once, that courtesy ends.
func (d *door) refuse(c *net.UnixConn, status int, why *Error) {
	if d.refusal.Add(1) > 16 {
		d.refusal.Add(-1)
		answer(c, status, why)
		c.Close()
		return
	}
	go func() {
		defer d.refusal.Add(-1)
		defer c.Close()
		_ = c.SetReadDeadline(time.Now().Add(min(time.Second, d.limits.send)))
		in := bufio.NewReader(io.LimitReader(c, d.limits.body))
		if r, err := http.ReadRequest(in); err == nil {
			_, _ = io.Copy(io.Discard, r.Body)
		}
		answer(c, status, why)
	}()
}

// answer sends a whole answer. It is far smaller than the buffer of a socket
// that nothing was sent on: the write does not wait.
func answer(c *net.UnixConn, status int, why *Error) {
	body, _ := json.Marshal(ErrorReply{Error: why.Error(), Exit: why.Exit}) // two plain fields: cannot fail
	fmt.Fprintf(c, "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s\n",
		status, http.StatusText(status), len(body)+1, body)
}
