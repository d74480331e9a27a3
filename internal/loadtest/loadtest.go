// Package loadtest asks a server at a fixed rate and accounts for every request:
// each one ends in exactly one class, and nothing is retried, so that "no
// connection was lost" is a count and not an impression. The loop is open (a
// slow server does not slow it down) and a request is sent the moment its
// connection stands. Times are kept to be printed; they are never a verdict.
// It reaches nothing but loopback addresses and unix sockets.
package loadtest

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// Class is how one request ended.
type Class string

// The classes. Refused, Reset, EOF and TimedOut are the lost ones.
const (
	OK         Class = "ok"
	Refused    Class = "refused"     // no connection: nobody listens, or no socket file
	Reset      Class = "reset"       // the connection was torn down
	EOF        Class = "eof"         // closed without a whole answer
	TimedOut   Class = "timed out"   // no whole answer within Config.Timeout
	BadStatus  Class = "bad status"  // answered, but not 200
	Local      Class = "local"       // the generator's own fault: out of ports, of descriptors
	IdleClosed Class = "idle closed" // not a request: a kept-alive connection was closed while nothing was asked
)

// Config says what to ask, how often. The zero value of every field but Address
// is usable.
type Config struct {
	Network string   // "tcp" (default) or "unix"
	Address string   // loopback IP and port, or a socket's path
	Paths   []string // asked in turn; default "/"

	Rate    int           // new connections a second, one request each; default 300, negative for none
	Timeout time.Duration // of one request; default 10 s

	// Named gives every connection over a unix socket a name on the client's
	// side as well, so that it can be told which worker had it: a Result and
	// getpeername in the worker say the same. Not every server likes it.
	Named bool

	KeepAlive      int           // clients beside those, each on one connection as long as the server keeps it
	KeepAliveEvery time.Duration // between the requests of such a client; default 50 ms

	Max int           // requests in all, then the load ends by itself; default 100 000
	For time.Duration // time in all; default 5 min
}

// Result is one request, or one idle connection found closed.
type Result struct {
	Class Class
	Kept  bool   // from a keep-alive client
	Local string // the client's side of the connection, if there was one
	Start time.Time
	Took  time.Duration
	// From the answer's headers, see internal/testworker.
	Version, PID, Slot, Generation string
	Err                            string
}

func (c Config) withDefaults() (Config, error) {
	if c.Network == "" {
		c.Network = "tcp"
	}
	if len(c.Paths) == 0 {
		c.Paths = []string{"/"}
	}
	setDefault(&c.Rate, 300)
	setDefault(&c.Timeout, 10*time.Second)
	setDefault(&c.KeepAliveEvery, 50*time.Millisecond)
	setDefault(&c.Max, 100_000)
	setDefault(&c.For, 5*time.Minute)
	return c, c.checkTarget()
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// checkTarget keeps a typing error from asking somebody else's machine.
func (c Config) checkTarget() error {
	switch c.Network {
	case "tcp":
		host, _, err := net.SplitHostPort(c.Address)
		if err != nil {
			return fmt.Errorf("read address %q: %w", c.Address, err)
		}
		ip, err := netip.ParseAddr(host)
		if err != nil || !ip.IsLoopback() {
			return fmt.Errorf("load %q: only loopback addresses, written as numbers", c.Address)
		}
	case "unix":
		if !filepath.IsAbs(c.Address) {
			return fmt.Errorf("load %q: want an absolute path", c.Address)
		}
	default:
		return fmt.Errorf("load over %q: only tcp and unix", c.Network)
	}
	return nil
}

// Start begins to ask, from this process. Stop it, or cancel ctx.
func Start(ctx context.Context, c Config) (*Load, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	run, stop := context.WithCancel(ctx)
	results := make(chan Result, 256)
	go generate(run, c, results)
	return collect(results, stop), nil
}

// Scale multiplies a full count by FUGUE_TEST_SCALE, which is a tenth if unset,
// and never returns less than 1. It is for counts of events (reloads, kills), so
// that a soak run does all that a normal run samples.
func Scale(full int) int {
	scale, err := strconv.ParseFloat(os.Getenv("FUGUE_TEST_SCALE"), 64)
	if err != nil || scale <= 0 {
		scale = 0.1
	}
	return max(1, int(float64(full)*scale))
}
