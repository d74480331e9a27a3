package activation

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Holder is a process that has a socket open.
type Holder struct {
	PID     int
	FD      int    // its number in that process
	Command string // comm of the process
	Inode   uint64 // of the socket
}

func (h Holder) String() string {
	if h.PID == os.Getpid() {
		return "this process"
	}
	return fmt.Sprintf("%s (pid %d)", h.Command, h.PID)
}

// HolderOf finds the processes that hold the socket to which an address is
// bound, in order of their numbers: for the words of an error, and for
// fetching a socket from a predecessor (pidfd_getfd(2) with PID and FD). A
// socket at exactly this address is preferred to one that stands in its way by
// listening on all addresses of the same port. Network and address are those
// of a Listener. What /proc does not show to this user, or what belongs to
// another network namespace, is not found: then the list is empty.
func HolderOf(network, address string) []Holder {
	var inodes map[uint64]bool
	switch network {
	case "tcp", "udp":
		ip, err := netip.ParseAddrPort(address)
		if err != nil {
			return nil
		}
		inodes = inetInodes(network, ip)
	case "unix", "unixgram":
		inodes = unixInodes(address)
	}
	return holders(inodes)
}

// inetInodes looks into /proc/net for what is bound to an address, or else for
// what overlaps it.
func inetInodes(network string, want netip.AddrPort) map[uint64]bool {
	exact, overlap := map[uint64]bool{}, map[uint64]bool{}
	for _, file := range []string{network, network + "6"} {
		table, err := os.ReadFile("/proc/net/" + file)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(table)) {
			ip, inode, ok := parseNetLine(line)
			switch {
			case !ok || ip.Port() != want.Port():
			case ip.Addr() == want.Addr().WithZone(""):
				exact[inode] = true
			case ip.Addr().IsUnspecified() || want.Addr().IsUnspecified():
				overlap[inode] = true
			}
		}
	}
	if len(exact) > 0 {
		return exact
	}
	return overlap
}

// parseNetLine reads a line of /proc/net/{tcp,udp}{,6} (proc_net_tcp.rst):
// "sl local_address rem_address st queues timer retrnsmt uid timeout inode".
// Only listening (0A) and unconnected UDP (07) sockets count.
func parseNetLine(line string) (ip netip.AddrPort, inode uint64, ok bool) {
	f := strings.Fields(line)
	if len(f) < 10 || f[3] != "0A" && f[3] != "07" {
		return netip.AddrPort{}, 0, false
	}
	host, port, found := strings.Cut(f[1], ":")
	raw, err := hex.DecodeString(host)
	if !found || err != nil {
		return netip.AddrPort{}, 0, false
	}
	// Groups of four bytes, each as a number of a little-endian machine, which
	// amd64 and arm64 are.
	for i := 0; i+4 <= len(raw); i += 4 {
		slices.Reverse(raw[i : i+4])
	}
	addr, ok := netip.AddrFromSlice(raw)
	number, err := strconv.ParseUint(port, 16, 16)
	if !ok || err != nil {
		return netip.AddrPort{}, 0, false
	}
	inode, err = strconv.ParseUint(f[9], 10, 64)
	return netip.AddrPortFrom(addr, uint16(number)), inode, err == nil && inode != 0
}

// unixInodes finds the sockets that a path or an abstract name leads to.
func unixInodes(name string) map[uint64]bool {
	sockets, err := unixSockets(0)
	if err != nil {
		return nil
	}
	var st unix.Stat_t
	abstract := strings.HasPrefix(name, "@")
	if !abstract && unix.Lstat(name, &st) != nil {
		return nil
	}
	found := map[uint64]bool{}
	for _, s := range sockets {
		if s.accepting() && (abstract && s.name == name || !abstract && s.boundTo(&st, name)) {
			found[uint64(s.inode)] = true
		}
	}
	return found
}

// holders looks through the fds of all processes that may be looked into. A
// process with several fds of one socket is listed with the first.
func holders(inodes map[uint64]bool) []Holder {
	if len(inodes) == 0 {
		return nil
	}
	var list []Holder
	procs, _ := os.ReadDir("/proc")
	for _, p := range procs {
		pid, err := strconv.Atoi(p.Name())
		if err != nil {
			continue
		}
		fds, _ := os.ReadDir("/proc/" + p.Name() + "/fd")
		seen := map[uint64]bool{}
		for _, f := range fds {
			link, _ := os.Readlink("/proc/" + p.Name() + "/fd/" + f.Name())
			number, ok := strings.CutPrefix(link, "socket:[")
			inode, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 64)
			if !ok || err != nil || !inodes[inode] || seen[inode] {
				continue
			}
			seen[inode] = true
			fd, _ := strconv.Atoi(f.Name())
			comm, _ := os.ReadFile("/proc/" + p.Name() + "/comm")
			list = append(list, Holder{PID: pid, FD: fd, Command: printable(strings.TrimSuffix(string(comm), "\n")), Inode: inode})
		}
	}
	slices.SortStableFunc(list, func(a, b Holder) int { return cmp.Compare(a.PID, b.PID) })
	return list
}

// printable: any process may choose its own comm, and the words of an error
// reach terminals and systemd.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f {
			return '?'
		}
		return r
	}, s)
}
