package ready

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// explain says why nothing of the worker was seen waiting. It reads more than
// a look does.
func (l *looker) explain(f findings) Seen {
	if b, err := l.root.read("stat"); err == nil {
		if state, _, ok := parseStat(b); ok && (state == 'Z' || state == 'X') {
			return Seen{Note: "has exited"}
		}
	}
	if f.denied != nil {
		// What else was seen is not the whole truth.
		return Seen{Denied: true, Note: fmt.Sprintf("may not be looked into: process %d (%v); let it send READY=1, or run fugue as its user or root", f.deniedPID, f.denied)}
	}
	if own := l.listening(f.others); len(own) > 0 {
		return Seen{Note: fmt.Sprintf("listens on %s itself and not on fugue's socket", strings.Join(own, " and "))}
	}
	switch {
	case f.held && f.uring:
		return Seen{Note: "holds the socket and uses io_uring, which cannot be looked into; let it send READY=1"}
	case f.held:
		return Seen{Note: "holds the socket but does not wait on it"}
	}
	return Seen{Note: "has closed the socket"}
}

// maxNamed bounds how many addresses a note lists.
const maxNamed = 3

// listening returns the addresses at which a socket among inodes accepts
// connections, in the worker's own network namespace.
func (l *looker) listening(inodes []uint64) []string {
	if len(inodes) == 0 {
		return nil
	}
	var found []string
	for _, table := range []struct {
		name  string
		parse func([]byte) (row, bool)
	}{{"net/tcp", parseTCP}, {"net/tcp6", parseTCP}, {"net/unix", parseUnix}} {
		header := true
		// A table that is not there, such as tcp6, has nothing for us.
		_ = l.root.lines(table.name, func(line []byte) bool {
			if header {
				header = false
				return true
			}
			r, ok := table.parse(line)
			switch {
			case !ok:
				return true
			case !r.listens:
				return !r.last
			case slices.Contains(inodes, r.inode) && !slices.Contains(found, r.address):
				found = append(found, r.address)
			}
			return len(found) < maxNamed
		})
	}
	return found
}

// row is one socket of a table in /proc/PID/net.
type row struct {
	listens bool
	last    bool // none that listens comes after it
	inode   uint64
	address string
}

// parseTCP reads a line of proc_pid_net(5)'s tcp and tcp6. The kernel lists
// all that listen before all others, which may be very many.
//
//	0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 12345 …
func parseTCP(line []byte) (row, bool) {
	f := bytes.Fields(line)
	if len(f) < 10 {
		return row{}, false
	}
	if string(f[3]) != "0A" {
		return row{last: true}, true
	}
	address, ok := parseAddress(string(f[1]))
	inode, err := strconv.ParseUint(string(f[9]), 10, 64)
	if !ok || err != nil {
		return row{}, false
	}
	return row{listens: true, inode: inode, address: address}, true
}

// parseAddress reads "0100007F:1F90": the address as 32-bit words in the
// machine's order, little-endian on all that fugue runs on, and the port.
func parseAddress(s string) (string, bool) {
	host, port, _ := strings.Cut(s, ":")
	b, err := hex.DecodeString(host)
	if err != nil || len(b) != 4 && len(b) != 16 {
		return "", false
	}
	for word := range slices.Chunk(b, 4) {
		slices.Reverse(word)
	}
	p, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return "", false
	}
	ip, _ := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(ip, uint16(p)).String(), true
}

// acceptsConnections is __SO_ACCEPTCON in the flags column of net/unix.
const acceptsConnections = 0x10000

// parseUnix reads a line of net/unix:
//
//	0000000000000000: 00000002 00000000 00010000 0001 01 12345 /run/x.sock
func parseUnix(line []byte) (row, bool) {
	f := bytes.Fields(line)
	if len(f) < 8 { // one without a name is nobody's to connect to
		return row{}, false
	}
	flags, err := strconv.ParseUint(string(f[3]), 16, 32)
	if err != nil {
		return row{}, false
	}
	inode, err := strconv.ParseUint(string(f[6]), 10, 64)
	if err != nil {
		return row{}, false
	}
	// strconv.Quote only where the name is odd, for it goes into a message.
	name := string(bytes.Join(f[7:], []byte{' '}))
	if quoted := strconv.QuoteToASCII(name); quoted != `"`+name+`"` {
		name = quoted
	}
	return row{listens: flags&acceptsConnections != 0, inode: inode, address: name}, true
}
