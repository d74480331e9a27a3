package release

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"fugue/internal/config"
)

// What the kernel would refuse in every worker is refused before, at its place.
func TestLimitsThatFugueMayNotSet(t *testing.T) {
	dir := tree(t, map[string]string{"x": script})
	all := config.Capabilities(1<<41 - 1)
	rlimit := func(resource int) (uint64, bool) { return map[int]uint64{unix.RLIMIT_NOFILE: 4096}[resource], true }
	web := self{uid: 990, gid: 991, bounding: all, rlimit: rlimit, niceness: func() int { return 5 }}
	root := web
	root.uid, root.permitted = 0, all
	given := web
	given.permitted = 1<<unix.CAP_NET_BIND_SERVICE | 1<<unix.CAP_SETPCAP
	confined := web
	confined.bounding = 1 << unix.CAP_CHOWN
	for _, tt := range []struct {
		name, text string
		me         self
		want       string
	}{
		{"as it is", "nofile = 4096\nnice = 5", web, ""},
		{"soft below", `nofile = "100:4096"`, web, ""},
		{"above", "nofile = \"100:4097\"", web, "3:1: error: limits.nofile: 4097 is above the hard limit, 4096, and fugue runs as uid 990 without CAP_SYS_RESOURCE: only root can raise it; in a unit say LimitNOFILE="},
		{"far above", "umask = '0022'\ncore = \"infinity\"", web, "4:1: error: limits.core: infinity is above the hard limit, 0, and fugue runs as uid 990 without CAP_SYS_RESOURCE: only root can raise it; in a unit say LimitCORE="},
		{"raised by root", "nofile = 5000\nnice = -5\ncore = \"infinity\"", root, ""},
		{"more than there can be", "nofile = \"infinity\"", root, "3:1: error: limits.nofile: infinity is more than fs.nr_open, NR: no process may have more"},
		{"nicer", "nice = 4", web, "3:1: error: limits.nice: 4 is less than 5, and fugue runs as uid 990 without CAP_SYS_NICE: only root can raise a priority; in a unit say Nice="},
		{"bounded by root", "capability_bounding_set = []", root, ""},
		{"bounded", "capability_bounding_set = ['CAP_KILL']", web, "3:1: error: limits.capability_bounding_set: fugue runs as uid 990 without CAP_SETPCAP, which it takes to drop others; say it in the unit, CapabilityBoundingSet="},
		{"bounded already", "capability_bounding_set = ['CAP_CHOWN', 'CAP_KILL']", confined, ""},
		{"bounded with the right", "capability_bounding_set = ['CAP_KILL']", given, ""},
		{"ambient", "ambient_capabilities = ['CAP_NET_BIND_SERVICE']", given, ""},
		{"ambient of root", "ambient_capabilities = ['CAP_NET_BIND_SERVICE', 'CAP_SYS_NICE']", root, ""},
		{"none", "ambient_capabilities = []", web, ""},
		{"not ours to give", "ambient_capabilities = ['CAP_NET_BIND_SERVICE', 'CAP_KILL']", given, "3:1: error: limits.ambient_capabilities: fugue runs as uid 990 without CAP_KILL and cannot give it to workers; in a unit say AmbientCapabilities=CAP_KILL"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := parse(t, dir, "command = ['DIR/x']\n[limits]\n"+tt.text)
			r, err := freeze(c, nil, nil, fakeAccounts(t), tt.me)
			if tt.want == "" {
				if err != nil || r.CapabilityBoundingSet != c.Limits.CapabilityBoundingSet || r.AmbientCapabilities != c.Limits.AmbientCapabilities {
					t.Errorf("%v", err)
				}
				return
			}
			most, _ := tt.me.mostFiles()
			want := strings.Replace(tt.want, "NR", amount(most), 1)
			if err == nil || err.Error() != "/etc/fugue/web.toml:"+want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		})
	}
}

// What is asked of the kernel is what it holds.
func TestOwnLimits(t *testing.T) {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		t.Fatal(err)
	}
	me := currentSelf()
	if got, ok := me.hard(unix.RLIMIT_NOFILE); got != l.Max || !ok {
		t.Errorf("%d, not %d", got, l.Max)
	}
	if err := unix.Setpriority(unix.PRIO_PROCESS, unix.Getpid(), me.niceness()); err != nil {
		t.Errorf("a niceness of %d is said to be allowed: %v", me.niceness(), err)
	}
}
