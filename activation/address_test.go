package activation

import (
	"net/netip"
	"strings"
	"testing"
)

func TestParseEndpoint(t *testing.T) {
	long := "/" + strings.Repeat("x", 106)
	for _, c := range []struct {
		in, stream, datagram, address string
	}{
		{"8080", "tcp", "udp", "[::]:8080"},
		{"0", "tcp", "udp", "[::]:0"},
		{"127.0.0.1:80", "tcp", "udp", "127.0.0.1:80"},
		{"0.0.0.0:65535", "tcp", "udp", "0.0.0.0:65535"},
		{"[::1]:80", "tcp", "udp", "[::1]:80"},
		{"[0:0::1]:080", "tcp", "udp", "[::1]:80"},
		{"[fe80::1%lo]:80", "tcp", "udp", "[fe80::1%lo]:80"},
		{"/run/web.sock", "unix", "unixgram", "/run/web.sock"},
		{long, "unix", "unixgram", long},
		{"@web", "unix", "unixgram", "@web"},
	} {
		for _, datagram := range []bool{false, true} {
			network := c.stream
			if datagram {
				network = c.datagram
			}
			e, err := parseEndpoint(c.in, datagram)
			if err != nil || e.network != network || e.String() != c.address {
				t.Errorf("%q: %s %s %v, want %s %s", c.in, e.network, e, err, network, c.address)
			}
		}
	}
}

func TestParseEndpointErrors(t *testing.T) {
	for in, message := range map[string]string{
		"":                               "not a port",
		"localhost:80":                   "localhost is a host name",
		"example.org:http":               "a port is a number",
		"web":                            "not a port",
		"127.0.0.1":                      "write 127.0.0.1:PORT",
		"::1":                            "write [::1]:PORT",
		"[::1]":                          "write [::1]:PORT",
		"::1:80":                         "write [::1:80]:PORT",
		":8080":                          "write 8080 for all",
		"*:8080":                         "write 8080 for all",
		"65536":                          "up to 65535",
		"127.0.0.1:65536":                "up to 65535",
		"127.0.0.1:+1":                   "a port is a number",
		"-1":                             "not a port",
		"[127.0.0.1]:80":                 "brackets",
		"[::g]:80":                       "not an IPv6 address",
		"256.0.0.1:80":                   "host name",
		"/":                              "not a normalized path",
		"/run/../web":                    "not a normalized path",
		"/run/web/":                      "not a normalized path",
		"/" + strings.Repeat("x", 107):   "108 bytes",
		"@":                              "needs a name",
		"@" + strings.Repeat("x", 107):   "108 bytes",
		"/run/w\x00b":                    "NUL",
		"run/web.sock":                   "not a port",
		"127.0.0.1:80:90":                "not a port",
		"vsock:2:80":                     "not a port",
		strings.Repeat("1", 100):         "up to 65535",
		"127.0.0.1:\u0661":               "a port is a number",
		"8080 ":                          "not a port",
		"127.0.0.01:80":                  "host name",
		"[::1%]:80":                      "not an IPv6 address",
		"[fe80::1%" + "\x00" + "eth]:80": "NUL",
	} {
		e, err := parseEndpoint(in, false)
		if err == nil {
			t.Errorf("%q: parsed as %s", in, e)
		} else if !strings.Contains(err.Error(), message) {
			t.Errorf("%q: %v, want %q", in, err, message)
		}
	}
}

func TestEndpointIs(t *testing.T) {
	for _, c := range []struct {
		spec, network, address string
		want                   bool
	}{
		{"127.0.0.1:80", "tcp", "127.0.0.1:80", true},
		{"127.0.0.1:80", "udp", "127.0.0.1:80", false},
		{"127.0.0.1:0", "tcp", "127.0.0.1:4711", true},
		{"127.0.0.1:0", "tcp", "127.0.0.2:4711", false},
		{"0", "tcp", "[::]:4711", true},
		{"80", "tcp", "0.0.0.0:80", false},
		{"/a", "unix", "/a", true},
		{"@a", "unix", "/a", false},
	} {
		e, err := parseEndpoint(c.spec, false)
		ok(t, err)
		if got := e.is(c.network, c.address); got != c.want {
			t.Errorf("%s is %s %s: %v", c.spec, c.network, c.address, got)
		}
	}
}

func FuzzParseEndpoint(f *testing.F) {
	for _, s := range []string{"8080", "0", "127.0.0.1:80", "[::1]:80", "[fe80::1%lo]:80", "/run/x", "@x", "@\x00", "localhost:80", "[::ffff:1.2.3.4]:5", "[::1%a]b]:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := parseEndpoint(s, true)
		if err != nil {
			return
		}
		if (e.path == "") != e.ip.IsValid() {
			t.Fatalf("%q: neither or both of path %q and address %v", s, e.path, e.ip)
		}
		if e.path == "" && e.ip.Addr() == (netip.Addr{}) {
			t.Fatalf("%q: no address", s)
		}
		again, err := parseEndpoint(e.String(), true)
		again.portOnly = e.portOnly
		if err != nil || again != e {
			t.Fatalf("%q: prints as %q, which parses as %v, %v", s, e, again, err)
		}
		if !e.is("udp", e.String()) && !e.is("unixgram", e.String()) {
			t.Fatalf("%q is not itself", s)
		}
	})
}
