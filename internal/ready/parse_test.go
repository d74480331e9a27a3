package ready

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

// Addresses are printed from words in the machine's order, and fd_sets read by
// bytes.
func TestTheMachineIsLittleEndian(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Error("it is not: parseAddress and selects are wrong here")
	}
}

func TestParseSyscall(t *testing.T) {
	for in, want := range map[string]call{
		"288 0x3 0x0 0x0 0x80000 0x7f 0xffffffffffffffff 0x7ffd 0x7f2e\n": {288, [6]uint64{3, 0, 0, 0x80000, 0x7f, 1<<64 - 1}},
		"0 0x0 0x1 0x2 0x3 0x4 0x5":                                       {0, [6]uint64{0, 1, 2, 3, 4, 5}},
	} {
		if got, ok := parseSyscall([]byte(in)); !ok || got != want {
			t.Errorf("%q: got %v, %v", in, got, ok)
		}
	}
	for _, in := range []string{"", "\n", "running\n", "-1 0x7ffe 0x7f2e\n", "43", "43 0x3", "43 3 0 0 0 0 0", "43 0x3 0x 0x0 0x0 0x0 0x0",
		"43 0x3 0x0 0x0 0x0 0x0 0x1ffffffffffffffff", "99999999999999999999 0x0 0x0 0x0 0x0 0x0 0x0"} {
		if got, ok := parseSyscall([]byte(in)); ok || got != (call{}) && in[0] != '4' {
			t.Errorf("%q: got %v, %v", in, got, ok)
		}
	}
}

func TestParseTarget(t *testing.T) {
	for in, want := range map[string]target{
		"tfd:       19 events:       19 data:               13  pos:0 ino:3a31 sdev:9":            {19, 0x19, 0x3a31, 9},
		"tfd:        4 events: 8000201d data: 7f6e5c4b3a291807  pos:0 ino:a sdev:800001":          {4, 0x8000201d, 10, 0x800001},
		"tfd:4 events:1 data:0 pos:0 ino:ffffffffffffffff sdev:9 later:x":                         {4, 1, 1<<64 - 1, 9},
		"tfd:        4 events:        1 data:                0  pos:0 ino:3a31 sdev:9 ino:3a32\n": {},
	} {
		got, ok := parseTarget([]byte(in))
		if got != want || ok != (want != target{}) {
			t.Errorf("%q: got %+v, %v", in, got, ok)
		}
	}
	for _, in := range []string{"", "pos:\t0", "ino:\t1039", "tfd:", "tfd: 3", "tfd: -3 events: 19 data: 0 pos:0 ino:1 sdev:9",
		"tfd: 3 events: 19 data: 13", "tfd: 3 events: 119000000 data: 0 pos:0 ino:1 sdev:9", "tfd: 3 events: x data: 0 pos:0 ino:1 sdev:9",
		"tfd: 3 events: 19 data: 0 pos:0 ino: sdev:9"} {
		if got, ok := parseTarget([]byte(in)); ok || got != (target{}) {
			t.Errorf("%q: got %+v, %v", in, got, ok)
		}
	}
}

func TestParseTables(t *testing.T) {
	for _, c := range []struct {
		parse func([]byte) (row, bool)
		in    string
		want  row
	}{
		{parseTCP, "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 0 100 0 0 10 0", row{listens: true, inode: 12345, address: "127.0.0.1:8080"}},
		{parseTCP, "   0: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 7 1 0", row{listens: true, inode: 7, address: "[::1]:8080"}},
		{parseTCP, "   1: 0100007F:1F90 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 0 1 0", row{last: true}},
		{parseTCP, "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode", row{last: true}},
		{parseTCP, "   0: 0100007F:1F90 0 0A 0 0 0 0 0 x", row{}},
		{parseTCP, "   0: 0100007F1F90 0 0A 0 0 0 0 0 1", row{}},
		{parseTCP, "   0: 01007F:1F90 0 0A 0 0 0 0 0 1", row{}},
		{parseTCP, "", row{}},
		{parseUnix, "0000000000000000: 00000002 00000000 00010000 0001 01 12345 /run/x.sock", row{listens: true, inode: 12345, address: "/run/x.sock"}},
		{parseUnix, "0000000000000000: 00000002 00000000 00010000 0001 01 12345 @ab c", row{listens: true, inode: 12345, address: "@ab c"}},
		{parseUnix, "0000000000000000: 00000002 00000000 00010000 0001 01 12345 /x\x1b[2J", row{listens: true, inode: 12345, address: `"/x\x1b[2J"`}},
		{parseUnix, "0000000000000000: 00000003 00000000 00000000 0001 03 12346 /run/x.sock", row{inode: 12346, address: "/run/x.sock"}},
		{parseUnix, "0000000000000000: 00000002 00000000 00010000 0001 01 12345", row{}},
		{parseUnix, "Num RefCount Protocol Flags Type St Inode Path", row{}},
	} {
		got, ok := c.parse([]byte(c.in))
		if got != c.want || ok != (c.want != row{}) {
			t.Errorf("%q: got %+v, %v", c.in, got, ok)
		}
	}
}

func TestParseStat(t *testing.T) {
	for in, want := range map[string]int{"12 (a) R 1 (x) S 7 12": 7, "12 (sh) S 0": 0, "12 (sh) S": -1, "12 (sh) SS 1": -1, "12 (sh) S -1": -1, "": -1} {
		state, parent, ok := parseStat([]byte(in))
		if ok != (want >= 0) || ok && (parent != want || state != 'S') {
			t.Errorf("%q: got %c, %d, %v", in, state, parent, ok)
		}
	}
}

func TestSocketInode(t *testing.T) {
	for in, want := range map[string]uint64{"socket:[123]": 123, "socket:[123": 0, "socket:[]": 0, "pipe:[123]": 0, "/socket:[1]": 0, "socket:[-1]": 0, "": 0} {
		if got, ok := socketInode(in); got != want || ok != (want != 0) {
			t.Errorf("%q: got %d, %v", in, got, ok)
		}
	}
}

// The numbers are the kernel's ABI; those of facts measured on amd64 pin it.
func TestWaitKinds(t *testing.T) {
	for _, n := range []int64{unix.SYS_ACCEPT, unix.SYS_ACCEPT4, unix.SYS_RECVFROM, unix.SYS_RECVMSG, unix.SYS_RECVMMSG, unix.SYS_READ} {
		if waitKind(n) != waitFD {
			t.Errorf("call %d", n)
		}
	}
	for _, n := range []int64{-1, unix.SYS_WRITE, unix.SYS_FUTEX, unix.SYS_CONNECT, 1 << 40} {
		if waitKind(n) != waitNone {
			t.Errorf("call %d", n)
		}
	}
}

func FuzzParseSyscall(f *testing.F) {
	f.Add([]byte("288 0x3 0x0 0x0 0x80000 0x7f 0xffffffffffffffff 0x7ffd 0x7f2e\n"))
	f.Add([]byte("running\n"))
	f.Add([]byte("-1 0x7ffe 0x7f2e\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		if c, ok := parseSyscall(in); ok && c.number < 0 {
			t.Fatal(c)
		}
	})
}

func FuzzParseTarget(f *testing.F) {
	f.Add([]byte("tfd:       19 events:       19 data:               13  pos:0 ino:3a31 sdev:9"))
	f.Add([]byte("tfd:1 events:\n ino:1 sdev:"))
	f.Fuzz(func(t *testing.T, in []byte) {
		if target, ok := parseTarget(in); ok && target.fd < 0 {
			t.Fatal(target)
		}
	})
}

func FuzzParseTables(f *testing.F) {
	f.Add([]byte("   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1"))
	f.Add([]byte("0: 00000000000000000000000001000000:1F90 0 0A 0 0 0 0 0 7"))
	f.Add([]byte("0000000000000000: 00000002 00000000 00010000 0001 01 12345 /run/x.sock"))
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, parse := range []func([]byte) (row, bool){parseTCP, parseUnix} {
			r, ok := parse(in)
			if !ok && r != (row{}) || r.listens && r.address == "" {
				t.Fatalf("%+v, %v", r, ok)
			}
			for _, c := range []byte(r.address) { // it goes into a message
				if c < ' ' || c >= 0x7f {
					t.Fatalf("address %q", r.address)
				}
			}
		}
	})
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("12 (a) R 1 (x) S 7 12"))
	f.Fuzz(func(t *testing.T, in []byte) {
		if _, parent, ok := parseStat(in); ok && parent < 0 {
			t.Fatal(parent)
		}
	})
}
