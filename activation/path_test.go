package activation

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func TestStalePathIsReplaced(t *testing.T) {
	for _, kind := range []int{unix.SOCK_STREAM, unix.SOCK_DGRAM} {
		path := sockPath(t)
		stale(t, path, kind)
		l := only(t, commit(t, nil, nil, Spec{Name: "a", Stream: path}))
		reaches(t, l)
		ok(t, closeListener(l, true))
		stale(t, path, kind)
		l = only(t, commit(t, nil, nil, Spec{Name: "a", Datagram: path}))
		ok(t, closeListener(l, true))
		if left, _ := os.ReadDir(filepath.Dir(path)); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

func TestLivePathIsAnError(t *testing.T) {
	path := sockPath(t)
	identity := func() fileID {
		var st unix.Stat_t
		ok(t, unix.Lstat(path, &st))
		return fileID{st.Dev, st.Ino}
	}
	for _, theirs := range []Spec{{Name: "x", Stream: path}, {Name: "x", Datagram: path}} {
		t.Run(theirs.Stream+theirs.Datagram, func(t *testing.T) {
			pid, _ := hold(t, theirs)
			was := identity()
			for _, ours := range []Spec{{Name: "a", Stream: path}, {Name: "a", Datagram: path}} {
				_, err := Prepare(nil, []Spec{ours}, nil, nil)
				wantErr(t, err, path, fmt.Sprintf("in use by exe (pid %d)", pid))
				if identity() != was {
					t.Fatal("the path is another file")
				}
			}
		})
	}
	// A full queue is no sign of death.
	pid, _ := hold(t, Spec{Name: "x", Stream: path, Backlog: 1})
	for {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		ok(t, err)
		defer unix.Close(fd)
		if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); errors.Is(err, unix.EAGAIN) {
			break
		}
	}
	_, err := Prepare(nil, []Spec{{Name: "a", Stream: path}}, nil, nil)
	wantErr(t, err, fmt.Sprintf("(pid %d)", pid))
}

// Bound and about to listen refuses connections like a stale one.
func TestPathAboutToListenIsAlive(t *testing.T) {
	path := sockPath(t)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	ok(t, err)
	defer unix.Close(fd)
	ok(t, unix.Bind(fd, &unix.SockaddrUnix{Name: path}))
	_, err = Prepare(nil, []Spec{{Name: "a", Stream: path}}, nil, nil)
	wantErr(t, err, "in use by this process")
	ok(t, unix.Listen(fd, 1))
	ok(t, connect(Listener{Network: "unix", Address: path}))
}

func TestPathThatIsNoSocket(t *testing.T) {
	dir := tempDir(t)
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	ok(t, os.WriteFile(file, []byte("precious"), 0o600))
	ok(t, os.Symlink(file, link))
	for _, path := range []string{file, link, dir} {
		_, err := Prepare(nil, []Spec{{Name: "a", Stream: path}}, nil, nil)
		wantErr(t, err, "not a socket", path)
	}
	if b, err := os.ReadFile(link); err != nil || string(b) != "precious" {
		t.Errorf("%q, %v", b, err)
	}
	_, err := Prepare(nil, []Spec{{Name: "a", Stream: filepath.Join(dir, "no", "s")}}, nil, nil)
	wantErr(t, err, "its directory must exist")
}

// Many start at once on a stale path: one gets it, and its clients reach it.
func TestRaceForAStalePath(t *testing.T) {
	for range 40 {
		path := sockPath(t)
		stale(t, path, unix.SOCK_STREAM)
		var wg sync.WaitGroup
		start := make(chan struct{})
		got := make([]*Candidate, 6)
		errs := make([]error, len(got))
		for i := range got {
			wg.Go(func() {
				<-start
				got[i], errs[i] = Prepare(nil, []Spec{{Name: "a", Stream: path}}, nil, nil)
			})
		}
		close(start)
		wg.Wait()
		winners := 0
		for i, c := range got {
			if c == nil {
				if !errors.Is(errs[i], unix.EADDRINUSE) {
					t.Errorf("%v", errs[i])
				}
				continue
			}
			winners++
			reaches(t, only(t, c.Set()))
			ok(t, c.Abort())
		}
		if winners != 1 {
			t.Fatalf("%d winners", winners)
		}
		if left, _ := os.ReadDir(filepath.Dir(path)); len(left) > 0 {
			t.Fatalf("left behind: %v", left)
		}
	}
}

// A program that knows no lock put its socket there after the old was judged.
func TestLiveSocketIsPutBack(t *testing.T) {
	path := sockPath(t)
	e, err := parseEndpoint(path, false)
	ok(t, err)
	stale(t, path, unix.SOCK_STREAM)
	var st unix.Stat_t
	h, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	ok(t, err)
	defer unix.Close(h)
	ok(t, unix.Fstat(h, &st))
	ok(t, os.Remove(path))
	pid, _ := hold(t, Spec{Name: "x", Stream: path})
	wantErr(t, removeJudged(e, fileID{st.Dev, st.Ino}), fmt.Sprintf("(pid %d)", pid))
	ok(t, connect(Listener{Network: "unix", Address: path}))
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}

func TestOnlyOurOwnPathIsUnlinked(t *testing.T) {
	exists := func(path string, want bool) {
		t.Helper()
		if _, err := os.Lstat(path); (err == nil) != want {
			t.Errorf("%s exists: %v, want %v", path, err == nil, want)
		}
	}
	// Somebody took the path: theirs stays.
	path := sockPath(t)
	s := commit(t, nil, nil, Spec{Name: "a", Stream: path})
	ok(t, os.Remove(path))
	hold(t, Spec{Name: "x", Stream: path})
	ok(t, s.Close(true))
	ok(t, connect(Listener{Network: "unix", Address: path}))

	// remove_on_stop = false, and a close for a successor.
	path = sockPath(t)
	s = commit(t, nil, nil, Spec{Name: "a", Stream: path, RemoveOnStop: new(false)})
	ok(t, s.Close(true))
	exists(path, true)
	s = commit(t, nil, nil, Spec{Name: "a", Stream: path})
	ok(t, s.Close(false))
	exists(path, true)

	// From the fd store: ours, and gone at the stop. From systemd: never,
	// neither by a reload nor by a stop nor by an abort.
	path = sockPath(t)
	kept := only(t, commit(t, nil, nil, Spec{Name: "a", Stream: path}))
	s = commit(t, nil, []Inherited{{"fugue.listen.a.1", kept.FD}}, Spec{Name: "a", Stream: path})
	if l := only(t, s); l.file() != kept.file() || l.Origin != Store {
		t.Errorf("%+v, want the file of %+v", l, kept)
	}
	ok(t, s.Close(true))
	exists(path, false)

	in := bound(t, "web", Spec{Stream: path})
	s = commit(t, nil, []Inherited{in}, Spec{Name: "web", Stream: path, Mode: 0o600})
	ok(t, prepare(t, s, nil).Abort())
	s = commit(t, s, nil)
	ok(t, s.Close(true))
	exists(path, true)
}

// A store entry that nobody wants any more takes its path along.
func TestUnwantedStoredPathIsRemoved(t *testing.T) {
	path := sockPath(t)
	l := only(t, commit(t, nil, nil, Spec{Name: "a", Stream: path}))
	c := prepare(t, nil, []Inherited{{"fugue.listen.a.1", l.FD}})
	ok(t, c.Commit())
	if _, err := os.Lstat(path); err == nil {
		t.Error("the path is still there")
	}
}

// A tidy-up removed the file: no client gets in until a reload binds it again.
func TestLostPathIsBoundAgain(t *testing.T) {
	path := sockPath(t)
	spec := Spec{Name: "a", Stream: path}
	s := commit(t, nil, nil, spec)
	ok(t, os.Remove(path))
	next := commit(t, s, nil, spec)
	if only(t, next).FD == only(t, s).FD {
		t.Fatal("the unreachable socket was kept")
	}
	reaches(t, only(t, next))

	// Also from the store, when another has the path: that is an error.
	ok(t, os.Remove(path))
	pid, _ := hold(t, spec)
	_, err := Prepare(nil, []Spec{spec}, []Inherited{{"fugue.listen.a.1", only(t, next).FD}}, nil)
	wantErr(t, err, fmt.Sprintf("(pid %d)", pid))
}

func TestAccessRights(t *testing.T) {
	nobody, err := user.Lookup("nobody")
	ok(t, err)
	rights := func(path string) string {
		var st unix.Stat_t
		ok(t, unix.Lstat(path, &st))
		return fmt.Sprintf("%o %d %d", st.Mode&0o777, st.Uid, st.Gid)
	}
	path := sockPath(t)
	spec := func(mode uint32, owner, group string) Spec {
		return Spec{Name: "a", Stream: path, Mode: mode, User: owner, Group: group}
	}
	var s *Set
	for _, c := range []struct {
		spec Spec
		want string
	}{
		{spec(0o600, "nobody", ""), "600 " + nobody.Uid + " " + nobody.Gid},
		{spec(0o660, "nobody", "daemon"), "660 " + nobody.Uid + " 1"},
		{spec(0, "", "4711"), "666 " + strconv.Itoa(os.Geteuid()) + " 4711"},
		{spec(0, "", ""), fmt.Sprintf("666 %d %d", os.Geteuid(), os.Getegid())},
	} {
		before := ""
		if s != nil { // once changed and reverted, then for good
			before = rights(path)
			ok(t, prepare(t, s, nil, c.spec).Abort())
			if got := rights(path); got != before {
				t.Errorf("after the abort %s, want %s", got, before)
			}
		}
		s = commit(t, s, nil, c.spec)
		if got := rights(path); got != c.want {
			t.Errorf("%+v: %s, want %s", c.spec, got, c.want)
		}
		fresh := sockPath(t)
		c.spec.Stream = fresh
		commit(t, nil, nil, c.spec)
		if got := rights(fresh); got != c.want {
			t.Errorf("bound with %+v: %s, want %s", c.spec, got, c.want)
		}
	}
	for _, bad := range []Spec{spec(0, "no-such-user", ""), spec(0, "", "no-such-group")} {
		_, err := Prepare(s, []Spec{bad}, nil, nil)
		wantErr(t, err, "no-such")
	}
	// systemd's keep theirs, but for what is configured.
	in := bound(t, "web", Spec{Stream: sockPath(t), Mode: 0o640})
	web := addressOf(t, in.FD)
	commit(t, nil, []Inherited{in}, Spec{Name: "web", Stream: web, Group: "daemon"})
	if got, want := rights(web), fmt.Sprintf("640 %d 1", os.Geteuid()); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// The rights are set on the socket that was bound, whatever lies there now.
func TestAccessNeverTouchesAnotherFile(t *testing.T) {
	path := sockPath(t)
	s := commit(t, nil, nil, Spec{Name: "a", Stream: path})
	victim := path + ".victim"
	ok(t, os.WriteFile(victim, nil, 0o600))
	ok(t, os.Remove(path))
	ok(t, os.Symlink(victim, path))
	change := func() {
		t.Helper()
		_, err := access{mode: 0o600, uid: -1, gid: -1}.apply(path, only(t, s).file())
		wantErr(t, err, "no longer the socket")
	}
	change()
	if st, _ := os.Stat(victim); st.Mode() != 0o600 {
		t.Errorf("the mode of another file is %v now", st.Mode())
	}
	ok(t, os.Remove(path))
	hold(t, Spec{Name: "x", Stream: path})
	change()
}
