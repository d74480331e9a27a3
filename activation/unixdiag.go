package activation

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"fugue/internal/sockdiag"
)

// unixSocket is what sock_diag(7) tells of one unix socket.
type unixSocket struct {
	inode        uint32 // of the socket
	name         string // as bound: a path, or '@' and an abstract name
	state        uint8
	kind         uint8
	hasFile      bool
	major, minor uint32 // of the file system of the path
	file         uint32 // inode of the path, its lower 32 bits
	queue, limit uint32
}

const (
	attrName    = 0 // UNIX_DIAG_NAME
	attrFile    = 1 // UNIX_DIAG_VFS
	attrQueue   = 4 // UNIX_DIAG_RQLEN
	showName    = 1 << 0
	showFile    = 1 << 1
	showQueue   = 1 << 4
	stateEstab  = 1
	stateClose  = 7
	stateListen = 10
)

// unixSockets asks the kernel for the unix sockets of this network namespace,
// or (inode not 0) for one of them. Unlike the paths in /proc/net/unix the
// answer tells which file a socket is bound to: two sockets can bear one path,
// when the older lost it.
func unixSockets(inode uint64) ([]unixSocket, error) {
	ask := sockdiag.Dump
	if inode != 0 {
		ask = sockdiag.One
	}
	var sockets []unixSocket
	request := sockdiag.Unix(1<<stateListen|1<<stateClose|1<<stateEstab, showName|showFile|showQueue, uint32(inode))
	if err := ask(request, func(b []byte) {
		if s, ok := parseUnixDiag(b); ok {
			sockets = append(sockets, s)
		}
	}); err != nil {
		return nil, err
	}
	return sockets, nil
}

// parseUnixDiag reads struct unix_diag_msg and its attributes.
func parseUnixDiag(b []byte) (unixSocket, bool) {
	if len(b) < sockdiag.UnixSize {
		return unixSocket{}, false
	}
	ne := binary.NativeEndian
	s := unixSocket{kind: b[1], state: b[2], inode: ne.Uint32(b[4:])}
	sockdiag.Attributes(b[sockdiag.UnixSize:], func(kind uint16, data []byte) {
		switch {
		case kind == attrName:
			s.name = sockdiag.Name(data)
		case kind == attrFile && len(data) >= 8:
			// The device in the kernel's own encoding: 12 bits and 20 bits.
			dev := ne.Uint32(data[4:])
			s.hasFile, s.file, s.major, s.minor = true, ne.Uint32(data), dev>>20, dev&(1<<20-1)
		case kind == attrQueue && len(data) >= 8:
			s.queue, s.limit = ne.Uint32(data), ne.Uint32(data[4:])
		}
	})
	return s, true
}

// boundTo reports whether the socket's path is the file of st. Some file
// systems show stat(2) another device than the kernel uses inside (btrfs,
// overlayfs): there the path as bound must agree instead.
func (s unixSocket) boundTo(st *unix.Stat_t, path string) bool {
	if !s.hasFile || s.file != uint32(st.Ino) {
		return false
	}
	return s.name == path || s.major == unix.Major(st.Dev) && s.minor == unix.Minor(st.Dev)
}

// accepting leaves out accepted connections, which bear the path of their
// listener.
func (s unixSocket) accepting() bool { return s.kind == unix.SOCK_DGRAM || s.state != stateEstab }
