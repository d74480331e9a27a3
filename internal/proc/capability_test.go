package proc

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"fugue/internal/launch"
)

// others are all capabilities of this process but some, by number.
func others(but ...int) (list []launch.Capability) {
	keep := map[int]bool{}
	for _, n := range but {
		keep[n] = true
	}
	for n := range 64 {
		if has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(n), 0, 0, 0); err == nil && has == 1 && !keep[n] {
			list = append(list, launch.Capability{Number: n, Name: fmt.Sprint("capability ", n)})
		}
	}
	return list
}

func only(numbers ...int) (set uint64) {
	for _, n := range numbers {
		set |= 1 << n
	}
	return set
}

func ambient(numbers ...int) (list []launch.Capability) {
	for _, n := range numbers {
		list = append(list, launch.Capability{Number: n, Name: fmt.Sprint("capability ", n)})
	}
	return list
}

// What a worker may is read back from the kernel.
func TestCapabilities(t *testing.T) { bothWays(t, testCapabilities) }

func testCapabilities(t *testing.T) {
	const bind, raw = unix.CAP_NET_BIND_SERVICE, unix.CAP_NET_RAW
	for name, c := range map[string]struct {
		uid                                int
		caps                               *launch.Capabilities
		permitted, inheritable, bound, amb uint64
	}{
		"a user without any":      {65534, &launch.Capabilities{Drop: others()}, 0, 0, 0, 0},
		"a user with one":         {65534, &launch.Capabilities{Drop: others(bind, raw), Permitted: only(bind), Inheritable: only(bind), Ambient: ambient(bind)}, only(bind), only(bind), only(bind, raw), only(bind)},
		"root with two":           {-1, &launch.Capabilities{Drop: others(bind, raw), Permitted: only(bind, raw)}, only(bind, raw), 0, only(bind, raw), 0},
		"root with one for users": {-1, &launch.Capabilities{Drop: others(bind, raw), Permitted: only(bind, raw), Inheritable: only(raw), Ambient: ambient(raw)}, only(bind, raw), only(raw), only(bind, raw), only(raw)},
	} {
		s := spec("")
		s.Plan.UID, s.Plan.GID, s.Plan.Capabilities = c.uid, c.uid, c.caps
		got := status(t, s)
		hex := func(set uint64) string { return fmt.Sprintf("%016x", set) }
		want := [5]string{hex(c.permitted), hex(c.permitted), hex(c.inheritable), hex(c.bound), hex(c.amb)}
		if c.uid < 0 { // the kernel has no ambient set for a program of root's
			want[4] = got["CapAmb"]
		}
		if d := cmp.Diff(want, [5]string{got["CapPrm"], got["CapEff"], got["CapInh"], got["CapBnd"], got["CapAmb"]}); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

// publicDir is a directory that every user may enter.
func publicDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "fugue")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A worker that tries to be root again fails: by a program of root's that
// anybody may execute, where that is forbidden; and where it is not, such a
// program has no rights that the bounding set lacks.
func TestRootIsNotRegained(t *testing.T) { bothWays(t, testRootIsNotRegained) }

func testRootIsNotRegained(t *testing.T) {
	cat := filepath.Join(publicDir(t), "cat")
	if out, err := exec.Command("cp", "/bin/cat", cat).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := os.Chmod(cat, 0o755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name       string
		nnp        bool
		caps       *launch.Capabilities
		uid, right string
	}{
		{"as it is", false, nil, "65534 0 0 0", fmt.Sprintf("%016x", setOf(others()))}, // the trick works
		{"no_new_privs", true, nil, "65534 65534 65534 65534", "0000000000000000"},
		{"bounded", false, &launch.Capabilities{Drop: others()}, "65534 0 0 0", "0000000000000000"},
		{"both", true, &launch.Capabilities{Drop: others()}, "65534 65534 65534 65534", "0000000000000000"},
	} {
		s := spec("/bin/sh", "-c", "exec "+cat+" /proc/self/status")
		s.Plan.UID, s.Plan.GID, s.Plan.NoNewPrivs, s.Plan.Capabilities = 65534, 65534, c.nnp, c.caps
		text := output(t, s)
		for key, want := range map[string]string{"Uid": c.uid, "CapEff": c.right} {
			if !strings.Contains(strings.Join(strings.Fields(text), " "), key+": "+want) {
				t.Errorf("%s: not %s %s:\n%s", c.name, key, want, text)
			}
		}
	}
	// And by asking the kernel.
	s := spec("/usr/bin/setpriv", "--reuid=0", "id", "-u")
	s.Plan.Env = []string{"PATH=/usr/bin:/bin"}
	s.Plan.UID, s.Plan.GID, s.Plan.Capabilities = 65534, 65534, &launch.Capabilities{}
	r := start(t, s)
	if err := <-r.launched; err != nil {
		t.Fatal(err)
	}
	if exit := r.wait(); exit.Success() {
		t.Error("a worker became root")
	}
}

func setOf(list []launch.Capability) (set uint64) {
	for _, c := range list {
		set |= 1 << c.Number
	}
	return set
}

// lesser is a master that is not root but may change users; its worker, of
// another user, may not.
func lesser() {
	ended := make(chan struct{})
	s := spec("/bin/grep", "^Cap[IPEA]", "/proc/self/status")
	s.Stdout = 1
	s.Plan.UID, s.Plan.GID, s.Plan.Capabilities = 65533, 65533, &launch.Capabilities{}
	if _, err := Start(s, func(err error) {
		if err != nil {
			fmt.Println(err)
		}
	}, func() { close(ended) }); err != nil {
		fmt.Println(err)
		return
	}
	<-ended
}

func TestNobodysRightsAreNotInherited(t *testing.T) { bothWays(t, testNobodysRightsAreNotInherited) }

func testNobodysRightsAreNotInherited(t *testing.T) {
	both := []int{unix.CAP_SETUID, unix.CAP_SETGID}
	exe := filepath.Join(publicDir(t), "fugue")
	if out, err := exec.Command("cp", exeName(t), exe).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s := spec(exe)
	s.asMaster("lesser")
	s.Plan.UID, s.Plan.GID = 65534, 65534
	s.Plan.Capabilities = &launch.Capabilities{Permitted: only(both...), Inheritable: only(both...), Ambient: ambient(both...)}
	const none = "\t0000000000000000\n"
	if d := cmp.Diff("CapInh:"+none+"CapPrm:"+none+"CapEff:"+none+"CapAmb:"+none, output(t, s)); d != "" {
		t.Error(d)
	}
}

// Each step that fails is told.
func TestFailedCapabilityComesBack(t *testing.T) { bothWays(t, testFailedCapabilityComesBack) }

func testFailedCapabilityComesBack(t *testing.T) {
	const bind = unix.CAP_NET_BIND_SERVICE
	strange := []launch.Capability{{Number: 63, Name: "CAP_STRANGE"}}
	for _, c := range []struct {
		caps launch.Capabilities
		step string
		err  unix.Errno
	}{
		{launch.Capabilities{Drop: strange}, "drop CAP_STRANGE from the bounding set", unix.EINVAL},
		{launch.Capabilities{Drop: others(), Permitted: only(bind), Inheritable: only(bind)}, "set capabilities", unix.EPERM},
		{launch.Capabilities{Ambient: strange}, "raise CAP_STRANGE in the ambient set", unix.EINVAL},
		{launch.Capabilities{Permitted: only(bind), Ambient: ambient(bind)}, "raise capability 10 in the ambient set", unix.EPERM},
	} {
		s := spec("/bin/true")
		s.Plan.UID, s.Plan.GID, s.Plan.Capabilities = 65534, 65534, &c.caps
		r := start(t, s)
		err := <-r.launched
		var le *LaunchError
		if !errors.As(err, &le) || le.Step != c.step || le.Errno != c.err {
			t.Errorf("launched(%v), want %s: %v", err, c.step, c.err)
		}
		r.wait()
	}
}
