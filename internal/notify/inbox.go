package notify

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Counts are totals since the Inbox was opened.
type Counts struct {
	Datagrams, Bad, FDs int64
}

// Inbox is the socket that workers know as NOTIFY_SOCKET.
//
// One goroutine reads it and calls deliver for each message, in order, never
// two at once. deliver may block: then the socket fills up and senders wait,
// as they would for a busy systemd, and nothing is lost. deliver may not call
// the Inbox; all methods are for one goroutine, but Counts for any.
type Inbox struct {
	fd      int
	path    string
	inode   unix.Stat_t // of path
	deliver func(Message)
	reader  *os.File     // on a duplicate of fd; nil while stopped
	asked   atomic.Int64 // calls of Sync
	counts  struct{ datagrams, bad, fds atomic.Int64 }
}

// ListenInbox makes the socket at path, readable and writable for uid alone
// (and root). A socket that is there is replaced: it can only be a
// predecessor's, since path is in fugue's own runtime directory. uid and gid
// of -1 are those of the process.
func ListenInbox(path string, uid, gid int, deliver func(Message)) (*Inbox, error) {
	if limit := len(unix.RawSockaddrUnix{}.Path) - 1; path == "" || path[0] != '/' || len(path) > limit {
		return nil, fmt.Errorf("listen for workers' notifications at %q: not an absolute path of at most %d bytes; choose a shorter runtime directory", path, limit)
	}
	if st, err := os.Lstat(path); err == nil {
		if st.Mode().Type() != os.ModeSocket {
			return nil, fmt.Errorf("listen for workers' notifications: %s is not a socket; remove it", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("replace the stale notify socket: %w", err)
		}
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("make the notify socket: %w", err)
	}
	if err := bindPrivately(fd, path, uid, gid); err != nil {
		unix.Close(fd)
		return nil, err
	}
	i, err := AdoptInbox(fd, path, deliver)
	if err != nil {
		os.Remove(path)
		unix.Close(fd)
		return nil, err
	}
	return i, nil
}

// Give makes uid and gid the owners of a file of ours; -1 leaves one. Where a
// unit's SystemCallFilter= has no chown, it would be an error also to give a file
// to whom it is already.
func Give(path string, uid, gid int) error {
	if (uid == -1 || uid == os.Geteuid()) && (gid == -1 || gid == os.Getegid()) {
		return nil
	}
	return os.Lchown(path, uid, gid)
}

// bindPrivately binds fd at path with mode 0600, owned by uid and gid. The
// mode is set before the bind, which takes it over from the socket: at no
// instant may a stranger connect.
func bindPrivately(fd int, path string, uid, gid int) error {
	if err := unix.Fchmod(fd, 0o600); err != nil {
		return fmt.Errorf("set the mode of the notify socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return fmt.Errorf("bind the notify socket %s: %w", path, err)
	}
	if err := Give(path, uid, gid); err != nil {
		os.Remove(path)
		return fmt.Errorf("give the notify socket to its user: %w", err)
	}
	return nil
}

// AdoptInbox takes over the socket that a predecessor bound at path: after an
// exec, or from systemd's store. It refuses one that no longer leads there;
// then the caller closes fd and listens anew. On success fd belongs to the
// Inbox.
func AdoptInbox(fd int, path string, deliver func(Message)) (*Inbox, error) {
	i := &Inbox{fd: fd, path: path, deliver: deliver}
	if kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil {
		return nil, fmt.Errorf("adopt descriptor %d as the notify socket: %w", fd, err)
	} else if kind != unix.SOCK_DGRAM {
		return nil, fmt.Errorf("adopt descriptor %d as the notify socket: not a datagram socket", fd)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return nil, fmt.Errorf("adopt descriptor %d as the notify socket: %w", fd, err)
	}
	if sa, ok := name.(*unix.SockaddrUnix); !ok || sa.Name != path {
		return nil, fmt.Errorf("adopt descriptor %d as the notify socket: not bound to %s", fd, path)
	}
	if err := unix.Lstat(path, &i.inode); err != nil {
		return nil, fmt.Errorf("adopt the notify socket %s: %w", path, err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1); err != nil {
		return nil, fmt.Errorf("ask for the credentials of the notify socket's senders: %w", err)
	}
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("make the notify socket non-blocking: %w", err)
	}
	if err := i.Resume(); err != nil {
		return nil, err
	}
	return i, nil
}

// FD returns the socket, for a successor; it stays the Inbox's.
func (i *Inbox) FD() int { return i.fd }

// Path returns what workers get as NOTIFY_SOCKET.
func (i *Inbox) Path() string { return i.path }

// Counts returns what has come so far.
func (i *Inbox) Counts() Counts {
	return Counts{i.counts.datagrams.Load(), i.counts.bad.Load(), i.counts.fds.Load()}
}

// Sync asks for a message marked Synced, delivered once every datagram that is
// in the socket now has been. A worker may be called silent only after that:
// its ping may have been waiting all the while. Calls made before the answer
// may share it. It does not block.
func (i *Inbox) Sync() {
	i.asked.Add(1)
	if i.reader != nil {
		i.reader.SetReadDeadline(time.Unix(1, 0)) // wakes it
	}
}

// Stop ends the reading without losing a datagram, so that the process can
// replace itself: what was read is delivered, then a message marked Stopped;
// the rest waits in the socket for the successor. It does not block.
func (i *Inbox) Stop() {
	if i.reader != nil {
		i.reader.Close()
		i.reader = nil
	}
}

// Resume reads again after Stop, for an exec that did not take place. The
// message marked Stopped must have come.
func (i *Inbox) Resume() error {
	if i.reader != nil {
		return nil
	}
	// A duplicate, so that ending the reader closes only the reader's.
	dup, err := unix.FcntlInt(uintptr(i.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("duplicate the notify socket: %w", err)
	}
	reader := os.NewFile(uintptr(dup), i.path)
	conn, err := reader.SyscallConn()
	if err != nil {
		reader.Close()
		return fmt.Errorf("read the notify socket: %w", err)
	}
	i.reader = reader
	go i.read(reader, conn)
	return nil
}

// Close ends the reading as Stop does and closes the socket. The path stays,
// for whoever else holds the socket. A deliver under way is not waited for,
// since the caller may be the one it waits for.
func (i *Inbox) Close() error {
	i.Stop()
	if err := unix.Close(i.fd); err != nil {
		return fmt.Errorf("close the notify socket: %w", err)
	}
	return nil
}

// Remove unlinks the path, then closes. In this order, and only if the path
// is still ours, or it could take away a successor's socket.
func (i *Inbox) Remove() error {
	var now unix.Stat_t
	err := unix.Lstat(i.path, &now)
	if err == nil && now.Ino == i.inode.Ino && now.Dev == i.inode.Dev {
		err = os.Remove(i.path)
	}
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, i.Close())
}

// syncAfter is how many datagrams may pass before a Sync is answered although
// the socket never ran empty: more than the kernel queues on one socket
// (net.unix.max_dgram_qlen: 10, under systemd 512). One worker that floods
// must not hide another that hangs.
const syncAfter = 4096

func (i *Inbox) read(reader *os.File, conn syscall.RawConn) {
	r := newReceiver()
	var answered, counting int64 // of the calls of Sync
	since := 0                   // datagrams read for the call counted
	for {
		var asked int64
		var empty bool
		err := conn.Read(func(fd uintptr) bool {
			asked = i.asked.Load() // before the look that answers it
			empty = r.receive(int(fd))
			return !empty || asked > answered
		})
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			// A Sync's. Taken back before its call is looked for: one that
			// comes now is seen by that look.
			reader.SetReadDeadline(time.Time{})
			continue
		case err != nil: // closed
			i.deliver(Message{Mark: Stopped})
			return
		}
		if !empty {
			m := r.message()
			i.count(m)
			i.deliver(m)
		}
		if asked == answered {
			continue
		}
		if since == 0 {
			counting = asked
		}
		since++
		switch {
		case empty:
			answered = asked
		case since > syncAfter:
			answered = counting
		default:
			continue
		}
		since = 0
		i.deliver(Message{Mark: Synced})
	}
}

func (i *Inbox) count(m Message) {
	i.counts.datagrams.Add(1)
	i.counts.fds.Add(int64(m.FDs))
	if m.BadReason != "" {
		i.counts.bad.Add(1)
	}
}
