package activation

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"

	"golang.org/x/sys/unix"
)

// access is owner and mode of a path; -1: leave.
type access struct{ mode, uid, gid int }

const defaultMode = 0o666 // SocketMode=

// access resolves the names in a spec.
func (s Spec) access() (access, error) {
	a := access{mode: defaultMode, uid: -1, gid: -1}
	if s.Mode != 0 {
		a.mode = int(s.Mode)
	}
	if s.User != "" {
		u, err := user.Lookup(s.User)
		if n, isNumber := parseID(s.User); err != nil && isNumber {
			a.uid = n
			if u, err = user.LookupId(s.User); err == nil {
				a.gid, _ = strconv.Atoi(u.Gid)
			}
		} else if err != nil {
			return access{}, fmt.Errorf("user %s: %w", s.User, err)
		} else {
			a.uid, _ = strconv.Atoi(u.Uid)
			a.gid, _ = strconv.Atoi(u.Gid)
		}
	}
	if s.Group != "" {
		g, err := user.LookupGroup(s.Group)
		if n, isNumber := parseID(s.Group); err != nil && isNumber {
			a.gid = n
		} else if err != nil {
			return access{}, fmt.Errorf("group %s: %w", s.Group, err)
		} else {
			a.gid, _ = strconv.Atoi(g.Gid)
		}
	}
	return a, nil
}

func parseID(s string) (int, bool) {
	n, err := strconv.ParseUint(s, 10, 31)
	return int(n), err == nil
}

// apply sets owner and mode of the file with this identity (zero: whatever
// socket is there) and returns what they were. It works on a handle, so that a
// file put in place of the socket is never touched.
func (a access) apply(path string, id fileID) (was access, err error) {
	h, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return access{}, fmt.Errorf("open %s: %w", path, err)
	}
	defer unix.Close(h)
	var st unix.Stat_t
	if err := unix.Fstat(h, &st); err != nil {
		return access{}, fmt.Errorf("look at %s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK || id != (fileID{}) && id != (fileID{st.Dev, st.Ino}) {
		return access{}, fmt.Errorf("%s is no longer the socket that was bound there", path)
	}
	was = access{mode: int(st.Mode & 0o777), uid: int(st.Uid), gid: int(st.Gid)}
	if a.uid >= 0 || a.gid >= 0 {
		if err := unix.Fchownat(h, "", a.uid, a.gid, unix.AT_EMPTY_PATH); err != nil {
			return was, fmt.Errorf("set the owner of %s: %w", path, err)
		}
	}
	if a.mode < 0 {
		return was, nil
	}
	if err := os.Chmod(fmt.Sprintf("/proc/self/fd/%d", h), os.FileMode(a.mode)); err != nil {
		err = fmt.Errorf("set the mode of %s: %w", path, errors.Unwrap(err))
		if a.uid >= 0 || a.gid >= 0 {
			err = errors.Join(err, unix.Fchownat(h, "", was.uid, was.gid, unix.AT_EMPTY_PATH))
		}
		return was, err
	}
	return was, nil
}

// accessChanges finds what a unix path needs to get from the spec it has (nil:
// unknown) to the one wanted; see socketChanges.
func accessChanges(l Listener, old *Spec, want Spec) ([]change, error) {
	before := Spec{}
	if old != nil {
		before = *old
	}
	if !l.isPath() || before.Mode == want.Mode && before.User == want.User && before.Group == want.Group {
		return nil, nil
	}
	a, err := want.access()
	if err != nil {
		return nil, err
	}
	if l.Origin == Systemd && want.Mode == 0 {
		a.mode = -1
	} else if l.Origin != Systemd && a.uid < 0 && before.User != "" {
		a.uid = os.Geteuid()
	}
	if l.Origin != Systemd && a.gid < 0 && (before.User != "" || before.Group != "") {
		a.gid = os.Getegid()
	}
	var was access
	return []change{{
		name: "set the access rights of " + l.Address,
		do: func() (err error) {
			was, err = a.apply(l.Address, l.file())
			return err
		},
		undo: func() error {
			_, err := was.apply(l.Address, l.file())
			return err
		},
	}}, nil
}
