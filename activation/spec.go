package activation

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Spec is one listening socket as the configuration wants it. The options have
// the names and meanings of systemd.socket(5), except where a comment says
// otherwise. The zero value of an option means "not configured": a socket that
// fugue binds then gets the kernel's default, one that systemd passed is left
// alone.
type Spec struct {
	// Name is what workers find in LISTEN_FDNAMES; CheckName has the rule.
	// Several specs may bear one name if their addresses differ.
	Name string

	// Stream and Datagram are addresses in ListenStream= syntax: "8080" (all
	// addresses), "127.0.0.1:80", "[::1]:80", "/path", "@abstract". Exactly one
	// is set, or neither: then the options are for whatever systemd passes
	// under Name. Port 0 lets the kernel choose; the choice is kept over
	// reloads.
	Stream, Datagram string

	// Backlog is the length of the accept queue; 0 is the most that
	// net.core.somaxconn allows.
	Backlog int

	ReusePort *bool // SO_REUSEPORT; fixed once bound
	FreeBind  *bool // an address that no interface has (yet); fixed once bound
	KeepAlive *bool // SO_KEEPALIVE, inherited by accepted connections
	NoDelay   *bool // TCP_NODELAY, inherited by accepted connections

	// DeferAccept (TCP) delays the accept until data has come; rounded up to
	// whole seconds.
	DeferAccept time.Duration

	// BindIPv6Only, for [::], is "default" (or empty: net.ipv6.bindv6only
	// decides), "both" or "ipv6-only"; fixed once bound.
	BindIPv6Only string

	// ReceiveBuffer and SendBuffer are in bytes. Beyond net.core.rmem_max and
	// wmem_max they need CAP_NET_ADMIN; where systemd only warns, this is an
	// error.
	ReceiveBuffer, SendBuffer uint64

	// Mode, User and Group are the access rights of a unix path: 0 is 0666;
	// names or numbers, empty is fugue's own. A User alone brings its primary
	// group along.
	Mode        uint32
	User, Group string

	// RemoveOnStop unlinks the path of a unix socket that fugue bound when it
	// is removed or the pool stops. Unlike systemd's, the default is true: a
	// stopped pool leaves no stale files. The paths of sockets that systemd
	// passed are never unlinked.
	RemoveOnStop *bool

	// NonBlocking sets or clears O_NONBLOCK; nil binds blocking sockets and
	// leaves inherited ones as they are. The flag belongs to the description
	// that all workers share: see Set.AssertFlags.
	NonBlocking *bool
}

// Validate checks everything that can be checked without touching a socket. It
// returns all faults it finds, joined.
func (s Spec) Validate() error {
	var errs []error
	if err := CheckName(s.Name); err != nil {
		errs = append(errs, err)
	}
	e, err := s.endpoint()
	if err != nil {
		errs = append(errs, err)
	}
	if s.Backlog < 0 {
		errs = append(errs, fmt.Errorf("backlog %d is negative", s.Backlog))
	}
	if s.DeferAccept < 0 || s.DeferAccept > maxDefer {
		errs = append(errs, fmt.Errorf("defer_accept %v is not between 0 and %v", s.DeferAccept, maxDefer))
	}
	for _, b := range []struct {
		name string
		size uint64
	}{{"receive_buffer", s.ReceiveBuffer}, {"send_buffer", s.SendBuffer}} {
		if b.size > maxBuffer {
			errs = append(errs, fmt.Errorf("%s %d is more than %d bytes", b.name, b.size, uint64(maxBuffer)))
		}
	}
	switch s.BindIPv6Only {
	case "", "default", "both", "ipv6-only":
	default:
		errs = append(errs, fmt.Errorf("bind_ipv6_only %q is not default, both or ipv6-only", s.BindIPv6Only))
	}
	if s.Mode&^0o777 != 0 {
		errs = append(errs, fmt.Errorf("mode %#o has bits outside 0777", s.Mode))
	}
	if err == nil && s.hasAddress() {
		errs = append(errs, s.misplaced(e)...)
	}
	return errors.Join(errs...)
}

const (
	maxDefer  = 24 * time.Hour
	maxBuffer = 1<<30 - 1 // the kernel doubles it into an int
)

// misplaced finds options that the kernel would ignore or refuse on this kind
// of address: a setting that does nothing is a mistake worth a word.
func (s Spec) misplaced(e endpoint) (errs []error) {
	path := e.path != "" && !e.abstract()
	for _, o := range []struct {
		name string
		set  bool
		ok   bool
		what string
	}{
		{"backlog", s.Backlog != 0, e.stream(), "stream sockets"},
		{"no_delay", s.NoDelay != nil, e.network == "tcp", "TCP"},
		{"defer_accept", s.DeferAccept != 0, e.network == "tcp", "TCP"},
		{"keep_alive", s.KeepAlive != nil, e.network == "tcp", "TCP"},
		{"reuse_port", s.ReusePort != nil, e.path == "", "TCP and UDP"},
		{"free_bind", s.FreeBind != nil, e.path == "", "TCP and UDP"},
		{"bind_ipv6_only", s.BindIPv6Only != "", e.ip.Addr() == netip.IPv6Unspecified(), "all addresses ([::])"},
		{"mode", s.Mode != 0, path, "unix socket paths"},
		{"user", s.User != "", path, "unix socket paths"},
		{"group", s.Group != "", path, "unix socket paths"},
		{"remove_on_stop", s.RemoveOnStop != nil, path, "unix socket paths"},
	} {
		if o.set && !o.ok {
			errs = append(errs, fmt.Errorf("%s is for %s, not for %s", o.name, o.what, e))
		}
	}
	return errs
}

func (s Spec) hasAddress() bool { return s.Stream != "" || s.Datagram != "" }

func (s Spec) endpoint() (endpoint, error) {
	switch {
	case s.Stream != "" && s.Datagram != "":
		return endpoint{}, errors.New("both a stream and a datagram address: make it two listeners")
	case s.Stream != "":
		return parseEndpoint(s.Stream, false)
	case s.Datagram != "":
		return parseEndpoint(s.Datagram, true)
	}
	return endpoint{}, nil
}

// removePath: see RemoveOnStop.
func (s Spec) removePath() bool { return s.RemoveOnStop == nil || *s.RemoveOnStop }

// CheckName says whether a name can travel in LISTEN_FDNAMES
// (sd_pid_notify_with_fds(3): printable ASCII without colon, at most 255
// characters) and is not one of fugue's own.
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("a listener needs a name")
	case strings.HasPrefix(name, "fugue."):
		return fmt.Errorf("name %q: fugue keeps names that begin with \"fugue.\" for itself", name)
	}
	return checkFDName(name)
}

// checkFDName is systemd's fdname_is_valid; the empty name is allowed there.
func checkFDName(name string) error {
	if len(name) > maxFDName {
		return fmt.Errorf("name %.20q… has %d characters, %d are allowed", name, len(name), maxFDName)
	}
	for i := 0; i < len(name); i++ {
		if c := name[i]; c < ' ' || c >= 0x7f || c == ':' {
			return fmt.Errorf("name %q: only printable ASCII without ':' is allowed", name)
		}
	}
	return nil
}

const maxFDName = 255
