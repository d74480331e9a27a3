package sockdiag

import (
	"encoding/binary"
	"errors"
	"net"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	listening = 1 << 10
	showName  = 1 << 0
	attrName  = 0
)

// A listening socket is in the dump and can be asked for by itself, with the name
// that it is bound to.
func TestDumpAndOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	for _, name := range []string{path, "@" + path} {
		l, err := net.Listen("unix", name)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		inode := inodeOf(t, l.(*net.UnixListener))
		for kind, ask := range map[string]func([]byte, func([]byte)) error{"dump": Dump, "one": One} {
			only := uint32(0)
			if kind == "one" {
				only = inode
			}
			found := ""
			look := func() error {
				return ask(Unix(listening, showName, only), func(b []byte) {
					if len(b) < UnixSize || binary.NativeEndian.Uint32(b[4:]) != inode {
						return
					}
					Attributes(b[UnixSize:], func(kind uint16, data []byte) {
						if kind == attrName {
							found = Name(data)
						}
					})
				})
			}
			err := look()
			for tries := 0; err == nil && found == "" && kind == "dump" && tries < 100; tries++ {
				err = look() // one may be passed over when others come and go meanwhile
			}
			if err != nil || found != name {
				t.Errorf("%s: found %q, want %q: %v", kind, found, name, err)
			}
		}
	}
}

func inodeOf(t *testing.T, l *net.UnixListener) uint32 {
	t.Helper()
	raw, err := l.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var st syscall.Stat_t
	if err := raw.Control(func(fd uintptr) { err = syscall.Fstat(int(fd), &st) }); err != nil {
		t.Fatal(err)
	}
	return uint32(st.Ino)
}

// What is not there and what is no request are errors with the kernel's number.
func TestErrors(t *testing.T) {
	none := func([]byte) { t.Error("an answer") }
	// The number of no socket: those of the sockets' file system are given out
	// from below.
	if err := One(Unix(listening, 0, 0xfffffff0), none); !errors.Is(err, unix.ENOENT) {
		t.Errorf("no such socket: %v", err)
	}
	if err := Dump([]byte{unix.AF_UNIX}, none); !errors.Is(err, unix.EINVAL) {
		t.Errorf("a short request: %v", err)
	}
}

// Attributes that are cut off or claim more than there is end the reading.
// A kernel that has it in a module, and may not load that, says no more than
// ENOENT; a protocol that no kernel has is as good.
func TestModuleIsNamed(t *testing.T) {
	request := make([]byte, 56)                // struct inet_diag_req_v2
	request[0], request[1] = unix.AF_INET, 250 // for experiments, RFC 3692
	err := Dump(request, func([]byte) {})
	if !errors.Is(err, unix.ENOENT) || err.Error() != "ask sock_diag: no such file or directory: the kernel has no tcp_diag; load it: modprobe tcp_diag" {
		t.Error(err)
	}
	if err := explain(unix.ENOENT, unix.AF_UNIX).Error(); err != "no such file or directory: the kernel has no unix_diag; load it: modprobe unix_diag" {
		t.Error(err)
	}
}

func TestAttributes(t *testing.T) {
	for name, c := range map[string]struct {
		b    []byte
		want int
	}{
		"none":           {nil, 0},
		"one":            {[]byte{6, 0, 1, 0, 'a', 'b', 0, 0}, 1},
		"two":            {[]byte{6, 0, 1, 0, 'a', 'b', 0, 0, 4, 0, 2, 0x80}, 2},
		"no padding":     {[]byte{6, 0, 1, 0, 'a', 'b'}, 1},
		"too long":       {[]byte{9, 0, 1, 0, 'a', 'b', 0, 0}, 0},
		"less than self": {[]byte{3, 0, 1, 0, 'a', 'b', 0, 0}, 0},
		"cut off":        {[]byte{6, 0, 1}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var kinds []uint16
			Attributes(c.b, func(kind uint16, data []byte) { kinds = append(kinds, kind) })
			if len(kinds) != c.want {
				t.Fatalf("got %v", kinds)
			}
			for i, kind := range kinds { // the flags above the kind are no part of it
				if int(kind) != i+1 {
					t.Errorf("got %v", kinds)
				}
			}
		})
	}
}
