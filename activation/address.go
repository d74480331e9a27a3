package activation

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// endpoint is a parsed address. Either ip is valid or path is set; the zero
// value is "no address".
type endpoint struct {
	network  string // tcp, udp, unix, unixgram
	ip       netip.AddrPort
	path     string // absolute, or '@' and an abstract name
	portOnly bool   // written as "8080": [::], or 0.0.0.0 where there is no IPv6
}

// maxPath: sun_path has 108 bytes; the terminating NUL keeps the path usable
// for programs that treat it as a C string, as systemd demands too.
const maxPath = 107

// parseEndpoint understands ListenStream= and ListenDatagram= as far as
// systemd.socket(5) gives them to IP and unix sockets. Port 0 is allowed.
func parseEndpoint(s string, datagram bool) (endpoint, error) {
	inet, local := "tcp", "unix"
	if datagram {
		inet, local = "udp", "unixgram"
	}
	bad := func(format string, args ...any) (endpoint, error) {
		return endpoint{}, fmt.Errorf("address %q: "+format, append([]any{s}, args...)...)
	}
	switch {
	case strings.IndexByte(s, 0) >= 0:
		return bad("contains a NUL byte")
	case strings.HasPrefix(s, "/"), strings.HasPrefix(s, "@"):
		if fault := unixFault(s); fault != "" {
			return bad("%s", fault)
		}
		return endpoint{network: local, path: s}, nil
	case s != "" && strings.Trim(s, "0123456789") == "":
		port, err := strconv.ParseUint(s, 10, 16)
		if err != nil {
			return bad("a port is a number up to 65535")
		}
		ip := netip.AddrPortFrom(netip.IPv6Unspecified(), uint16(port))
		return endpoint{network: inet, ip: ip, portOnly: true}, nil
	}
	ip, fault := parseIPPort(s)
	if fault != "" {
		return bad("%s", fault)
	}
	return endpoint{network: inet, ip: ip}, nil
}

// unixFault is what is wrong with a path or an abstract name, or empty.
func unixFault(s string) string {
	switch {
	case len(s) > maxPath && s[0] == '@':
		return fmt.Sprintf("%d bytes, an abstract name can have %d", len(s), maxPath)
	case len(s) > maxPath:
		return fmt.Sprintf("%d bytes, a unix socket path can have %d", len(s), maxPath)
	case s == "@":
		return "an abstract socket needs a name after the @"
	case s[0] == '/' && (s != filepath.Clean(s) || s == "/"):
		return "not a normalized path of a file"
	}
	return ""
}

// parseIPPort understands IPV4:PORT and [IPV6]:PORT; fault is what is wrong.
func parseIPPort(s string) (at netip.AddrPort, fault string) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		if ip, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
			return at, "has no port: write " + net.JoinHostPort(ip.String(), "PORT")
		}
		return at, "not a port, IPV4:PORT, [IPV6]:PORT, /path or @name"
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return at, "a port is a number up to 65535"
	}
	if host == "" || host == "*" {
		return at, fmt.Sprintf("write %s for all addresses", port)
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case err != nil && strings.ContainsAny(host, ":%"):
		return at, host + " is not an IPv6 address"
	case err != nil:
		return at, host + " is a host name: write the IP address"
	case ip.Is6() != strings.HasPrefix(s, "["):
		return at, "IPv6 addresses, and only they, are written in brackets"
	}
	return netip.AddrPortFrom(ip, uint16(number)), ""
}

func (e endpoint) String() string {
	if e.path != "" {
		return e.path
	}
	if !e.ip.IsValid() {
		return ""
	}
	return e.ip.String()
}

func (e endpoint) stream() bool   { return e.network == "tcp" || e.network == "unix" }
func (e endpoint) abstract() bool { return strings.HasPrefix(e.path, "@") }
func (e endpoint) anyPort() bool  { return e.ip.IsValid() && e.ip.Port() == 0 }

// resolve replaces [::] for a bare port where the kernel has no IPv6, as
// systemd does.
func (e endpoint) resolve() endpoint {
	if e.portOnly {
		if _, err := os.Stat("/proc/net/if_inet6"); errors.Is(err, os.ErrNotExist) {
			e.ip = netip.AddrPortFrom(netip.IPv4Unspecified(), e.ip.Port())
		}
	}
	return e
}

// is reports whether a socket's own idea of its address is this one; port 0 is
// any port.
func (e endpoint) is(network, address string) bool {
	if e.network != network {
		return false
	}
	if e.anyPort() {
		ip, err := netip.ParseAddrPort(address)
		return err == nil && ip.Addr() == e.ip.Addr()
	}
	return e.String() == address
}

func (e endpoint) domain() int {
	switch {
	case e.path != "":
		return unix.AF_UNIX
	case e.ip.Addr().Is4():
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func (e endpoint) sockType() int {
	if e.stream() {
		return unix.SOCK_STREAM
	}
	return unix.SOCK_DGRAM
}

func (e endpoint) sockaddr() (unix.Sockaddr, error) {
	if e.path != "" {
		return &unix.SockaddrUnix{Name: e.path}, nil
	}
	if e.ip.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(e.ip.Port()), Addr: e.ip.Addr().As4()}, nil
	}
	sa := &unix.SockaddrInet6{Port: int(e.ip.Port()), Addr: e.ip.Addr().As16()}
	if zone := e.ip.Addr().Zone(); zone != "" {
		if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
			sa.ZoneId = uint32(n)
			return sa, nil
		}
		dev, err := net.InterfaceByName(zone)
		if err != nil {
			return nil, fmt.Errorf("find interface %s: %w", zone, err)
		}
		sa.ZoneId = uint32(dev.Index)
	}
	return sa, nil
}

// formatSockaddr is the inverse of sockaddr; "" for what it does not know.
func formatSockaddr(sa unix.Sockaddr) string {
	switch sa := sa.(type) {
	case *unix.SockaddrUnix:
		if sa.Name == "@" { // unnamed
			return ""
		}
		return sa.Name
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)).String()
	case *unix.SockaddrInet6:
		ip := netip.AddrFrom16(sa.Addr)
		if sa.ZoneId != 0 {
			zone := strconv.FormatUint(uint64(sa.ZoneId), 10)
			if dev, err := net.InterfaceByIndex(int(sa.ZoneId)); err == nil {
				zone = dev.Name
			}
			ip = ip.WithZone(zone)
		}
		return netip.AddrPortFrom(ip, uint16(sa.Port)).String()
	}
	return ""
}
