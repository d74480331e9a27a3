package worker

import "net"

// life is one connection from its accept to its close. net/http says nothing
// more about a connection once it is hijacked, so its end is seen at Close.
type life struct {
	close func()
	ended func(*life)
}

type alive interface{ self() *life }

func (l *life) self() *life { return l }

// The kinds of connections keep what their type can do: sendfile for TCP,
// descriptors for unix sockets.
type (
	tcpConn struct {
		*net.TCPConn
		*life
	}
	unixConn struct {
		*net.UnixConn
		*life
	}
	otherConn struct {
		net.Conn
		*life
	}
)

func (c tcpConn) Close() error   { defer c.ended(c.life); return c.TCPConn.Close() }
func (c unixConn) Close() error  { defer c.ended(c.life); return c.UnixConn.Close() }
func (c otherConn) Close() error { defer c.ended(c.life); return c.Conn.Close() }

// tracked is a listener whose connections have a life.
type tracked struct {
	net.Listener
	ended func(*life)
}

func (t tracked) Accept() (net.Conn, error) {
	c, err := t.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l := &life{close: func() { c.Close() }, ended: t.ended}
	switch c := c.(type) {
	case *net.TCPConn:
		return tcpConn{c, l}, nil
	case *net.UnixConn:
		return unixConn{c, l}, nil
	}
	return otherConn{c, l}, nil
}

// lifeOf looks below TLS.
func lifeOf(c net.Conn) *life {
	if above, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = above.NetConn()
	}
	if a, ok := c.(alive); ok {
		return a.self()
	}
	return nil
}
