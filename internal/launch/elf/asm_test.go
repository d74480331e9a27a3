package elf

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"fugue/internal/launch"
)

// The bytes that are executed in every worker are those of the source that one
// can read. Without both assemblers this fails: see .ci/run for the packages.
func TestCodeIsItsSource(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("sh", "asm/build.sh", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, m := range machines() {
		b, err := os.ReadFile(filepath.Join(dir, name+".elf"))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b, []byte(m.code)) {
			t.Errorf("%s.elf is not what its source gives: make elf", name)
		}
	}
}

func machines() map[string]*Machine { return map[string]*Machine{"amd64": AMD64(), "arm64": ARM64()} }

// An image asks for nothing that a strict system refuses: what is written is
// not executed, nor is the stack, and no page has both.
func TestImageIsStrict(t *testing.T) {
	for name, m := range machines() {
		image, err := m.Make(&launch.Plan{Path: "/bin/true", Umask: -1, UID: -1, GID: -1}, 3, 4)
		if err != nil {
			t.Fatal(err)
		}
		f, err := elf.NewFile(bytes.NewReader(file(image)))
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[name]
		if f.Machine != want || f.Type != elf.ET_EXEC || len(f.Progs) != 3 {
			t.Errorf("%s: %v", name, f.FileHeader)
		}
		code, data, stack := f.Progs[0].ProgHeader, f.Progs[1].ProgHeader, f.Progs[2].ProgHeader
		if code.Flags != elf.PF_R|elf.PF_X || data.Flags != elf.PF_R|elf.PF_W || stack.Flags != elf.PF_R|elf.PF_W || stack.Type != elf.PT_GNU_STACK {
			t.Errorf("%s: %v, %v, %v", name, code, data, stack)
		}
		const page = 0x10000
		if code.Memsz != uint64(len(image.Code)) || code.Off+code.Filesz > data.Off || data.Off%page != 0 || data.Vaddr%page != 0 {
			t.Errorf("%s: %v, %v", name, code, data)
		}
		if data.Off != DataOffset || data.Vaddr != dataAddress || data.Filesz != uint64(len(image.Data)) || data.Memsz != data.Filesz {
			t.Errorf("%s: %v", name, data)
		}
		if n := len(m.code); n > 1024 {
			t.Errorf("%s: %d bytes", name, n)
		}
	}
}

func file(i Image) []byte {
	return append(append(i.Code, make([]byte, DataOffset-len(i.Code))...), i.Data...)
}

// The numbers are those that package syscall has, of both architectures.
func TestNumbers(t *testing.T) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	for name, m := range machines() {
		b, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(root)), "src/syscall/zsysnum_linux_"+name+".go"))
		if err != nil {
			t.Fatal(err)
		}
		theirs := map[string]string{}
		for _, f := range regexp.MustCompile(`(?m)^\s*SYS_(\w+)\s*=\s*(\d+)`).FindAllSubmatch(b, -1) {
			theirs[string(f[1])] = string(f[2])
		}
		for call, number := range map[string]uint32{
			"CAPSET": m.capset, "CHDIR": m.chdir, "CLOSE": m.close, "CONNECT": m.connect, "DUP3": m.dup3, "EXECVE": m.execve,
			"FCNTL": m.fcntl, "FSTAT": m.fstat, "GETPID": m.getpid, "OPENAT": m.openat, "PRCTL": m.prctl,
			"PRLIMIT64": m.prlimit, "READ": m.read, "SENDTO": m.sendto, "SETGROUPS": m.setgroups, "SETPRIORITY": m.setpriority,
			"SETRESGID": m.setresgid, "SETRESUID": m.setresuid, "SETSOCKOPT": m.setsockopt,
			"SHUTDOWN": m.shutdown, "SOCKET": m.socket, "SYNC_FILE_RANGE": m.syncFileRange, "UMASK": m.umask, "WRITE": m.write,
		} {
			if theirs[call] != fmt.Sprint(number) {
				t.Errorf("%s: %s is %q, not %d", name, call, theirs[call], number)
			}
		}
	}
}
