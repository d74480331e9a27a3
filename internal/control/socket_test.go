package control

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func lockDir(t *testing.T, dir string) *Hold {
	t.Helper()
	h, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Release)
	return h
}

func TestListenReplacesOnlyASocket(t *testing.T) {
	h := lockDir(t, filepath.Join(shortDir(t), "web"))
	first, err := Listen(h, 0o660, 12)
	if err != nil {
		t.Fatal(err)
	}
	first.Close(false) // as a master that was killed leaves it
	second, err := Listen(h, 0o640, -1)
	if err != nil {
		t.Fatalf("over a stale socket: %v", err)
	}
	fi, err := os.Lstat(second.Path())
	if err != nil || fi.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
	second.Close(true)
	if err := os.WriteFile(second.Path(), []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := Listen(h, 0o660, -1); err == nil {
		s.Close(false)
		t.Error("a file was replaced")
	} else if !strings.Contains(err.Error(), "is not a socket") {
		t.Error(err)
	}
	if b, _ := os.ReadFile(second.Path()); string(b) != "precious" {
		t.Error("the file was touched")
	}
}

func TestListenGivesGroupAndMode(t *testing.T) {
	h := lockDir(t, filepath.Join(shortDir(t), "web"))
	s, err := Listen(h, 0o660, 12)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(true)
	var st unix.Stat_t
	if err := unix.Lstat(s.Path(), &st); err != nil || st.Gid != 12 || st.Mode&0o777 != 0o660 {
		t.Errorf("gid %d, mode %o, %v", st.Gid, st.Mode, err)
	}
}

func TestListenSaysWhenThePathIsTooLong(t *testing.T) {
	h := lockDir(t, filepath.Join(shortDir(t), strings.Repeat("x", 90)))
	_, err := Listen(h, 0o660, -1)
	if err == nil || !strings.Contains(err.Error(), "sockets allow 107") || !strings.Contains(err.Error(), "RuntimeDirectory=") {
		t.Error(err)
	}
}

func TestAdopt(t *testing.T) {
	h := lockDir(t, filepath.Join(shortDir(t), "web"))
	first, err := Listen(h, 0o660, -1)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Adopt(h, first.FD())
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("unix", s.Path())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()

	other := lockDir(t, filepath.Join(shortDir(t), "other"))
	if _, err := Adopt(other, s.FD()); err == nil {
		t.Error("adopted the socket of another pool")
	}
	udp, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(udp)
	if _, err := Adopt(h, udp); err == nil {
		t.Error("adopted a datagram socket")
	}
	os.Remove(s.Path())
	if _, err := Adopt(h, s.FD()); err == nil {
		t.Error("adopted a socket that nobody can find")
	}
	s.Close(false)
}
