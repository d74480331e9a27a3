package master

import (
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"fugue/internal/notify"
)

// inbox is the notify socket for workers of one user; each user has its own,
// because no other may write to it. The group is nothing to it: a second one
// for another group would take the path away from the first. What it is
// called follows from the user alone, for a successor to find it.
func (h *host) inbox(uid, gid int) (*notify.Inbox, error) {
	if uid < 0 {
		uid = os.Geteuid()
	}
	if inbox := h.inboxes[uid]; inbox != nil {
		return inbox, nil
	}
	name := inboxName(uid)
	path := h.hold.Dir() + "/" + strings.TrimPrefix(name, "fugue.")
	for _, in := range h.takeInherited(func(n string) bool { return n == name }) {
		if h.inboxes[uid] == nil {
			if inbox, err := notify.AdoptInbox(in.FD, path, h.deliver); err == nil {
				h.addInbox(uid, inbox)
				continue
			}
			_ = h.systemd.RemoveFD(name)
		}
		_ = unix.Close(in.FD)
	}
	if inbox := h.inboxes[uid]; inbox != nil {
		return inbox, notify.Give(path, uid, gid)
	}
	inbox, err := notify.ListenInbox(path, uid, gid, h.deliver)
	if err != nil {
		return nil, err
	}
	h.addInbox(uid, inbox)
	return inbox, h.systemd.StoreFD(name, inbox.FD(), true)
}

func (h *host) addInbox(uid int, inbox *notify.Inbox) {
	h.inboxes[uid] = inbox
	h.inboxCount.Add(1)
	all := slices.Collect(maps.Values(h.inboxes))
	h.listening.Store(&all)
}

// Sync implements World.
func (h *host) Sync() int {
	all := h.listening.Load()
	if all == nil {
		return 0
	}
	for _, inbox := range *all {
		inbox.Sync()
	}
	return len(*all)
}

func inboxName(uid int) string {
	if uid == os.Geteuid() {
		return storedInbox
	}
	return storedInbox + "." + strconv.Itoa(uid)
}

// deliver passes on what the inboxes hear.
func (h *host) deliver(m notify.Message) {
	if m.Mark == notify.Stopped {
		select {
		case h.stopped <- struct{}{}: // has room for one: they are stopped one by one
		default: // it is being closed, and nobody waits for that
		}
		return
	}
	h.report(datagram{m})
}

// drainInboxes takes the inboxes of a predecessor for users that no worker has
// now out of the store. They are read to the end: its workers may still write
// there, and must neither wait for ever nor get an error.
func (h *host) drainInboxes() {
	for _, in := range h.takeInherited(func(n string) bool { return strings.HasPrefix(n, storedInbox) }) {
		path := h.hold.Dir() + "/" + strings.TrimPrefix(in.Name, "fugue.")
		if inbox, err := notify.AdoptInbox(in.FD, path, h.deliver); err == nil {
			h.former = append(h.former, inbox)
		} else {
			_ = unix.Close(in.FD)
		}
		_ = h.systemd.RemoveFD(in.Name)
	}
}
