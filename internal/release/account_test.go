package release

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fugue/internal/config"
)

func fakeAccounts(t *testing.T) accounts {
	t.Helper()
	dir := t.TempDir()
	a := accounts{filepath.Join(dir, "passwd"), filepath.Join(dir, "group")}
	passwd := "root:x:0:0:root:/root:/bin/bash\nweb:x:990:991:Web,,,:/srv/web:/bin/false\nbare:x:992:992:::\n+::::::\nbroken:x:y\n"
	group := "root:x:0:\nweb:x:991:\nssl:x:50:web,other\nvideo:x:44:other,web\nwebs:x:51:webs\nadm:x:4:\n"
	if err := os.WriteFile(a.passwd, []byte(passwd), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(a.group, []byte(group), 0o644); err != nil {
		t.Fatal(err)
	}
	return a
}

func TestRights(t *testing.T) {
	dir := tree(t, map[string]string{"x": script})
	root := self{uid: 0, gid: 0, groups: []int{0, 7}, maySet: true}
	web := self{uid: 990, gid: 991, groups: []int{44, 50, 991}}
	for _, tt := range []struct {
		name, text string
		me         self
		uid, gid   int
		groups     []int
		env        string
		err        string
	}{
		{name: "nothing said", me: root, uid: -1, gid: -1, env: "HOME=/me SHELL=/me USER=me"},
		{name: "user", text: "user = 'web'", me: root, uid: 990, gid: 991, groups: []int{44, 50, 991}, env: "HOME=/srv/web SHELL=/bin/false USER=web LOGNAME=web"},
		{name: "number of a known user", text: "user = '990'", me: root, uid: 990, gid: 991, groups: []int{44, 50, 991}, env: "HOME=/srv/web SHELL=/bin/false USER=web LOGNAME=web"},
		{name: "number of nobody", text: "user = '777'\ngroup = '778'", me: root, uid: 777, gid: 778, groups: []int{778}},
		{name: "without home and shell", text: "user = 'bare'", me: root, uid: 992, gid: 992, groups: []int{992}, env: "USER=bare LOGNAME=bare"},
		{name: "user and group", text: "user = 'web'\ngroup = 'adm'", me: root, uid: 990, gid: 4, groups: []int{4, 44, 50}, env: "HOME=/srv/web SHELL=/bin/false USER=web LOGNAME=web"},
		{name: "group", text: "group = 'adm'", me: root, uid: -1, gid: 4, groups: []int{4}, env: "HOME=/me SHELL=/me USER=me"},
		{name: "supplementary", text: "user = 'web'\nsupplementary_groups = ['adm', '50', '6']", me: root, uid: 990, gid: 991, groups: []int{4, 6, 44, 50, 991}, env: "HOME=/srv/web SHELL=/bin/false USER=web LOGNAME=web"},
		{name: "supplementary alone", text: "supplementary_groups = ['adm']", me: root, uid: -1, gid: -1, groups: []int{0, 4, 7}, env: "HOME=/me SHELL=/me USER=me"},
		{name: "the master itself", text: "user = 'web'", me: web, uid: -1, gid: -1, env: "HOME=/srv/web SHELL=/bin/false USER=web LOGNAME=web"},
		{name: "the master itself with all", text: "user = 'web'\ngroup = 'web'\nsupplementary_groups = ['ssl']", me: web, uid: -1, gid: -1, env: "HOME=/srv/web SHELL=/bin/false USER=web LOGNAME=web"},
		{name: "another", text: "user = 'bare'", me: web, err: `1:1: error: user "bare": fugue runs as uid 990 without CAP_SETUID: only root can start workers as another user`},
		{name: "another group", text: "group = 'adm'", me: web, err: `1:1: error: group: fugue runs as uid 990 without CAP_SETGID: only root can change the groups of workers`},
		{name: "another supplementary group", text: "supplementary_groups = ['adm']", me: web, err: `1:1: error: supplementary_groups: fugue runs as uid 990 without CAP_SETGID: only root can change the groups of workers`},
		{name: "rights without root", text: "user = 'bare'", me: self{uid: 5, gid: 5, maySet: true}, uid: 992, gid: 992, groups: []int{992}, env: "USER=bare LOGNAME=bare"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := parse(t, dir, tt.text+"\ncommand = ['DIR/x']")
			r, err := freeze(c, nil, []string{"HOME=/me", "SHELL=/me", "USER=me"}, fakeAccounts(t), tt.me)
			if tt.err != "" {
				if err == nil || err.Error() != "/etc/fugue/web.toml:"+tt.err {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if r.UID != tt.uid || r.GID != tt.gid || !slices.Equal(r.Groups, tt.groups) {
				t.Errorf("uid %d gid %d groups %v", r.UID, r.GID, r.Groups)
			}
			var env []string
			for _, v := range r.Env {
				env = append(env, v.Name+"="+v.Value.String())
			}
			if diff := cmp.Diff(tt.env, strings.Join(env, " ")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLookupGroup(t *testing.T) {
	if n, err := LookupGroup("root"); n != 0 || err != nil {
		t.Error(n, err)
	}
	if n, err := LookupGroup("4242"); n != 4242 || err != nil {
		t.Error(n, err)
	}
	if _, err := LookupGroup("4294967295"); err == nil {
		t.Error("this number means none")
	}
}

// TestAccess compares with what the kernel does when asked as that user.
func TestAccess(t *testing.T) {
	dir := tree(t, map[string]string{"d/x": script})
	x := dir + "/d/x"
	for _, tt := range []struct {
		name           string
		dirMode, mode  os.FileMode
		dirUID, dirGID int
		uid, gid       int
		want           bool
	}{
		{"open", 0o755, 0o755, 0, 0, 1, 1, true},
		{"execute only", 0o711, 0o711, 0, 0, 1, 1, true},
		{"no bit", 0o755, 0o644, 0, 0, 1, 1, false},
		{"no bit, root", 0o755, 0o644, 0, 0, 0, 0, false},
		{"one bit, root", 0o700, 0o001, 1, 1, 0, 0, true},
		{"closed directory", 0o700, 0o755, 0, 0, 1, 1, false},
		{"directory of the group", 0o750, 0o755, 0, 1, 1, 1, true},
		{"directory of the user", 0o500, 0o755, 1, 0, 1, 1, true},
		{"owner's bits count first", 0o077, 0o755, 1, 0, 1, 1, false},
		{"group's bits count before others'", 0o705, 0o755, 0, 1, 1, 1, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			os.Chown(dir+"/d", tt.dirUID, tt.dirGID)
			os.Chmod(dir+"/d", tt.dirMode)
			os.Chmod(x, tt.mode)
			defer os.Chmod(dir+"/d", 0o755)
			m := &maker{cfg: &config.Config{}, rel: &Release{UID: tt.uid, GID: tt.gid, Groups: []int{tt.gid}}}
			_, err := m.executable(x)
			if (err == nil) != tt.want {
				t.Errorf("got %v", err)
			}
			if kernel := runsAs(t, x, tt.uid, tt.gid); (kernel == nil) != tt.want {
				t.Errorf("the kernel says %v", kernel)
			}
		})
	}
}
