package release

import (
	"bufio"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"fugue/internal/config"
)

// accounts are the files that know users and groups. They are read here and not
// by os/user, which without cgo reads the same ones but does not tell the shell.
type accounts struct{ passwd, group string }

func systemAccounts() accounts { return accounts{"/etc/passwd", "/etc/group"} }

// account is a line of passwd(5). A user given by a number that nobody knows
// has only that.
type account struct {
	name        string
	uid, gid    int // gid -1: not known
	home, shell string
}

func (a *account) each(set func(name, value string)) {
	set("HOME", a.home)
	set("USER", a.name)
	set("LOGNAME", a.name)
	set("SHELL", a.shell)
}

// HasUser reports that a worker could be this user.
func HasUser(name string) bool {
	_, err := systemAccounts().lookupUser(name)
	return err == nil
}

// LookupGroup is the number of a group, given by name or number.
func LookupGroup(name string) (int, error) { return systemAccounts().lookupGroup(name) }

func (a accounts) lookupUser(name string) (*account, error) {
	number, isNumber := id(name)
	var found *account
	err := lines(a.passwd, 7, func(f []string) bool {
		uid, okUID := id(f[2])
		gid, okGID := id(f[3])
		if okUID && okGID && (f[0] == name || isNumber && uid == number) {
			found = &account{name: f[0], uid: uid, gid: gid, home: f[5], shell: f[6]}
		}
		return found != nil
	})
	switch {
	case found != nil:
		return found, nil
	case isNumber:
		return &account{uid: number, gid: -1}, nil
	case err != nil:
		return nil, err
	}
	return nil, fmt.Errorf("no such user in %s; one from elsewhere can be given by number, with group", a.passwd)
}

func (a accounts) lookupGroup(name string) (int, error) {
	if n, ok := id(name); ok {
		return n, nil
	}
	found := -1
	err := lines(a.group, 4, func(f []string) bool {
		if gid, ok := id(f[2]); ok && f[0] == name {
			found = gid
		}
		return found >= 0
	})
	switch {
	case found >= 0:
		return found, nil
	case err != nil:
		return 0, err
	}
	return 0, fmt.Errorf("no such group in %s; one from elsewhere can be given by number", a.group)
}

// groupsOf are the groups that name a user as their member, see initgroups(3).
func (a accounts) groupsOf(user string) ([]int, error) {
	var all []int
	err := lines(a.group, 4, func(f []string) bool {
		if gid, ok := id(f[2]); ok && slices.Contains(strings.Split(f[3], ","), user) {
			all = append(all, gid)
		}
		return false
	})
	return all, err
}

// id reads a user's or group's number; the largest means "none" in chown(2).
func id(s string) (int, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return int(n), err == nil && n != math.MaxUint32
}

func lines(path string, fields int, each func([]string) bool) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20) // a group may have very many members
	for s.Scan() {
		if parts := strings.Split(s.Text(), ":"); len(parts) == fields && each(parts) {
			return nil
		}
	}
	return s.Err()
}

// self is what the master is and may.
type self struct {
	uid, gid int
	groups   []int
	maySet   bool // change its users and groups: root, or CAP_SETUID and CAP_SETGID

	permitted, bounding config.Capabilities
	rlimit              func(resource int) (hard uint64, ok bool) // nil: none is known
	niceness            func() int                                // the least; nil: not known
}

func currentSelf() self {
	groups, _ := os.Getgroups()
	me := self{uid: os.Geteuid(), gid: os.Getegid(), groups: groups, rlimit: hardLimit, niceness: leastNice}
	me.permitted, me.bounding = OwnCapabilities()
	me.maySet = me.permitted.Has(unix.CAP_SETUID) && me.permitted.Has(unix.CAP_SETGID)
	return me
}

// rights resolves user and groups. The account is nil where no user was said.
func (m *maker) rights(a accounts, me self) *account {
	c, r := m.cfg, m.rel
	r.UID, r.GID = -1, -1
	var who *account
	if c.User != "" {
		var err error
		if who, err = a.lookupUser(c.User); err != nil {
			m.errorf("user", "user %q: %w", c.User, err)
			return nil
		}
		r.UID, r.GID = who.uid, who.gid
		if who.name != "" {
			if r.Groups, err = a.groupsOf(who.name); err != nil {
				m.errorf("user", "groups of user %q: %w", c.User, err)
			}
		}
	}
	if c.Group != "" {
		gid, err := a.lookupGroup(c.Group)
		if err != nil {
			m.errorf("group", "group %q: %w", c.Group, err)
			return who
		}
		r.GID = gid
	}
	if r.UID >= 0 && r.GID < 0 {
		m.errorf("user", "user %q: nobody knows its group; say group too", c.User)
		return who
	}
	if r.GID >= 0 {
		r.Groups = append([]int{r.GID}, r.Groups...)
	} else if len(c.SupplementaryGroups) > 0 {
		r.Groups = append([]int{me.gid}, me.groups...)
	}
	for i, name := range c.SupplementaryGroups {
		gid, err := a.lookupGroup(name)
		if err != nil {
			m.errorf(index("supplementary_groups", i), "group %q: %w", name, err)
			continue
		}
		r.Groups = append(r.Groups, gid)
	}
	if r.Groups != nil {
		slices.Sort(r.Groups)
		r.Groups = slices.Compact(r.Groups)
	}
	m.changeable(me)
	return who
}

// changeable refuses at once what setuid(2) would refuse in every worker, and
// leaves alone what is as it should be, since not even that may be set again.
func (m *maker) changeable(me self) {
	r := m.rel
	if me.maySet || r.UID < 0 && r.GID < 0 && r.Groups == nil {
		return
	}
	same := func(gid int) bool { return gid == me.gid || slices.Contains(me.groups, gid) }
	foreign := slices.IndexFunc(r.Groups, func(gid int) bool { return !same(gid) })
	switch {
	case r.UID >= 0 && r.UID != me.uid:
		m.errorf("user", "user %q: fugue runs as uid %d without CAP_SETUID: only root can start workers as another user", m.cfg.User, me.uid)
	case r.GID >= 0 && r.GID != me.gid || foreign >= 0:
		key := "supplementary_groups"
		if m.cfg.Group != "" {
			key = "group"
		} else if m.cfg.User != "" {
			key = "user"
		}
		m.errorf(key, "%s: fugue runs as uid %d without CAP_SETGID: only root can change the groups of workers", key, me.uid)
	default:
		r.UID, r.GID, r.Groups = -1, -1, nil
	}
}

func index(key string, i int) string { return key + "[" + strconv.Itoa(i) + "]" }
