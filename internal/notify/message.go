package notify

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// Mark tells a datagram from the two messages that an Inbox makes itself.
type Mark int

// The marks.
const (
	Datagram Mark = iota
	Synced        // answers Sync: what was in the socket then has been delivered
	Stopped       // answers Stop: the last message; what is unread stays unread
)

// Message is one datagram and who sent it.
type Message struct {
	Mark Mark

	// PID, UID and GID are the sender's, vouched for by the kernel
	// (SCM_CREDENTIALS, unix(7)). PID is 0 for a sender of a PID namespace
	// above ours. root may name another process and systemd-notify does: it
	// names its parent.
	PID, UID, GID int
	// Lineage is the sender's process group, its session, then its parents,
	// nearest first, up to the first of this process, PID 1 and 16 of them.
	// It is read at once, for the sender may be a script's helper about to
	// exit, and nil if that was too late. Of a process that this one has
	// started itself it is this one alone: PID says who that is.
	Lineage []int
	// Cgroup is the sender's cgroup v2 path, or "", as it is for such a process.
	Cgroup string

	Fields    map[string]string // nil if BadReason is set
	FDs       int               // descriptors that came with it, closed by now
	BadReason string            // why this is no notification, else ""
}

// From says whether pid is the sender, its process group, session or ancestor.
func (m Message) From(pid int) bool {
	return pid > 0 && (m.PID == pid || slices.Contains(m.Lineage, pid))
}

// receiver holds the latest datagram, raw.
type receiver struct {
	data, control []byte // buffers
	n, controlled int    // how much of them is filled
	flags         int
	err           error
	kinship       kinship
}

func newReceiver() *receiver {
	return &receiver{
		kinship: newKinship(),
		data:    make([]byte, maxState),
		control: make([]byte, unix.CmsgSpace(unix.SizeofUcred)+unix.CmsgSpace(4*maxFDs)),
	}
}

// receive takes one datagram without waiting and says whether there was none.
func (r *receiver) receive(fd int) (empty bool) {
	for {
		r.n, r.controlled, r.flags, _, r.err = unix.Recvmsg(fd, r.data, r.control, unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
		switch {
		case errors.Is(r.err, unix.EINTR):
			continue
		case errors.Is(r.err, unix.EAGAIN):
			return true
		}
		return false
	}
}

// message judges the datagram and closes what came with it. The sender's
// lineage is read first: it may be waiting for just that close, to exit.
func (r *receiver) message() Message {
	if r.err != nil {
		return Message{BadReason: fmt.Sprintf("receive: %v", r.err)}
	}
	cred, fds := ancillary(r.control[:r.controlled])
	m := Message{FDs: len(fds)}
	if cred != nil {
		m.PID, m.UID, m.GID = int(cred.Pid), int(cred.Uid), int(cred.Gid)
		m.Lineage, m.Cgroup = r.kinship.of(m.PID)
	}
	for _, fd := range fds {
		unix.Close(fd)
	}
	switch {
	case cred == nil:
		m.BadReason = "came without credentials"
	case r.flags&unix.MSG_TRUNC != 0:
		m.BadReason = fmt.Sprintf("longer than %d bytes", len(r.data))
	default:
		// A truncated control message (MSG_CTRUNC) is not held against it:
		// we had no room for its descriptors, the kernel has closed them,
		// and what it says is whole.
		fields, err := ParseState(r.data[:r.n])
		if err != nil {
			m.BadReason = err.Error()
		}
		m.Fields = fields
	}
	return m
}

// ancillary picks credentials and descriptors out of a control buffer. It
// walks the headers itself: the usual parser gives up at the first malformed
// one, and the descriptors before it would stay open.
func ancillary(b []byte) (cred *unix.Ucred, fds []int) {
	for len(b) >= unix.CmsgLen(0) {
		header, data, rest, err := unix.ParseOneSocketControlMessage(b)
		if err != nil {
			return cred, fds
		}
		m := unix.SocketControlMessage{Header: header, Data: data}
		if header.Level == unix.SOL_SOCKET {
			switch header.Type {
			case unix.SCM_RIGHTS:
				if more, err := unix.ParseUnixRights(&m); err == nil {
					fds = append(fds, more...)
				}
			case unix.SCM_CREDENTIALS:
				if c, err := unix.ParseUnixCredentials(&m); err == nil {
					cred = c
				}
			}
		}
		b = rest
	}
	return cred, fds
}
