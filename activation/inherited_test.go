package activation

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// Each case is a real process with real fds and a real environment.
func TestFromEnv(t *testing.T) {
	a := bound(t, "", Spec{Stream: "127.0.0.1:0"})
	b := bound(t, "", Spec{Stream: "@" + sockPath(t)})
	two := []int{a.FD, b.FD}
	gone := "" // the number says that they are another's
	if _, known := pidfdID(os.Getpid()); !known {
		gone = "unknown" // before 6.9 the PID decides alone
	}
	for _, c := range []struct {
		name  string
		role  string // pid: LISTEN_PID becomes right
		env   []string
		names string // of what is inherited
		err   string
	}{
		{name: "absent", role: "activated"},
		{name: "no pid", role: "activated", env: []string{"LISTEN_FDS=2"}},
		{name: "another's", role: "activated", env: []string{"LISTEN_PID=1", "LISTEN_FDS=2"}},
		{name: "another's and malformed", role: "activated", env: []string{"LISTEN_PID=1", "LISTEN_FDS=x"}},
		{name: "pid malformed", role: "activated", env: []string{"LISTEN_PID=one", "LISTEN_FDS=2"}, err: "LISTEN_PID"},
		{name: "pid empty", role: "activated", env: []string{"LISTEN_PID=", "LISTEN_FDS=2"}, err: "LISTEN_PID"},
		{name: "pid zero", role: "activated", env: []string{"LISTEN_PID=0", "LISTEN_FDS=2"}, err: "LISTEN_PID"},
		{name: "unnamed", role: "pid", env: []string{"LISTEN_FDS=2"}, names: "unknown unknown"},
		{name: "named", role: "pid", env: []string{"LISTEN_FDS=2", "LISTEN_FDNAMES=http:"}, names: "http "},
		{name: "pidfd id is ours", role: "pid", env: []string{"LISTEN_FDS=1", "LISTEN_FDNAMES=a", "LISTEN_PIDFDID=own"}, names: "a"},
		{name: "pidfd id of a process gone", role: "pid", env: []string{"LISTEN_FDS=1", "LISTEN_PIDFDID=1"}, names: gone},
		{name: "pidfd id malformed", role: "pid", env: []string{"LISTEN_FDS=1", "LISTEN_PIDFDID=-1"}, err: "LISTEN_PIDFDID"},
		{name: "no count", role: "pid", err: "LISTEN_FDS is missing"},
		{name: "zero", role: "pid", env: []string{"LISTEN_FDS=0"}, err: "LISTEN_FDS"},
		{name: "negative", role: "pid", env: []string{"LISTEN_FDS=-1"}, err: "LISTEN_FDS"},
		{name: "too few names", role: "pid", env: []string{"LISTEN_FDS=2", "LISTEN_FDNAMES=a"}, err: "has 1 names"},
		{name: "empty names", role: "pid", env: []string{"LISTEN_FDS=2", "LISTEN_FDNAMES="}, err: "has 1 names"},
		{name: "bad name", role: "pid", env: []string{"LISTEN_FDS=1", "LISTEN_FDNAMES=a\tb"}, err: "printable ASCII"},
		{name: "not open", role: "pid", env: []string{"LISTEN_FDS=60"}, err: "is not open"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := activate(t, c.role, c.env, two...)
			if c.err == "" && r.Err != "" || c.err != "" && !strings.Contains(r.Err, c.err) {
				t.Errorf("error %q, want %q", r.Err, c.err)
			}
			var names []string
			for i, in := range r.Inherited {
				names = append(names, in.Name)
				if in.FD != 3+i || !r.CloseExec[i] {
					t.Errorf("fd %d, close-on-exec %v", in.FD, r.CloseExec[i])
				}
			}
			if got := strings.Join(names, " "); got != c.names {
				t.Errorf("names %q, want %q", got, c.names)
			}
		})
	}
}

// What systemd passes is adopted by name and address, never by order.
func TestActivatedProcess(t *testing.T) {
	a := bound(t, "", Spec{Stream: "127.0.0.1:0"})
	b := bound(t, "", Spec{Stream: "127.0.0.1:0"})
	at, bt := addressOf(t, a.FD), addressOf(t, b.FD)
	specs := fmt.Sprintf(`SPECS=[{"Name":"http","Stream":%q}]`, at)
	for _, fds := range [][]int{{a.FD, b.FD}, {b.FD, a.FD}} {
		r := activate(t, "pid", []string{specs, "LISTEN_FDS=2", "LISTEN_FDNAMES=http:http"}, fds...)
		var got []string
		for _, l := range r.Listeners {
			got = append(got, l.Name+" "+string(l.Origin)+" "+l.Address)
		}
		if diff := cmp.Diff([]string{"http systemd " + at, "http systemd " + bt}, got); diff != "" {
			t.Error(diff)
		}
	}
}

// A refused set leaves the fds as they were: whoever reports it may still exec.
func TestFromEnvMalformedChangesNothing(t *testing.T) {
	env := map[string]string{"LISTEN_PID": fmt.Sprint(os.Getpid()), "LISTEN_FDS": fmt.Sprint(maxFDs + 1)}
	lookup := func(k string) (string, bool) { v, set := env[k]; return v, set }
	_, err := FromEnv(lookup, os.Getpid())
	wantErr(t, err, "more than a process can have open")

	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0) // no CLOEXEC, on purpose
	ok(t, err)
	defer unix.Close(fd)
	env["LISTEN_FDS"] = fmt.Sprint(fd - firstFD + 1 + 1000) // up to beyond it
	_, err = FromEnv(lookup, os.Getpid())
	wantErr(t, err, "is not open")
	if flags, _ := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); flags&unix.FD_CLOEXEC != 0 {
		t.Error("a refused set was changed")
	}
}

func FuzzParseFDs(f *testing.F) {
	f.Add("2", "a:b", true)
	f.Add("1", "", true)
	f.Add("3", "", false)
	f.Add("-1", "x", true)
	f.Add("99999999999", ":::", true)
	f.Fuzz(func(t *testing.T, count, names string, named bool) {
		fds, err := parseFDs(count, names, named)
		if err != nil {
			if fds != nil {
				t.Fatal("an error and fds")
			}
			return
		}
		if len(fds) == 0 {
			t.Fatal("none without an error")
		}
		if len(fds) > 1000 {
			return
		}
		var back []string
		for i, in := range fds {
			if in.FD != firstFD+i || checkFDName(in.Name) != nil {
				t.Fatalf("%+v", in)
			}
			back = append(back, in.Name)
		}
		if named && strings.Join(back, ":") != names {
			t.Fatalf("%q became %q", names, back)
		}
	})
}
