package proc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// imageOf is what a child executes while it is held in the middle of its plan.
func imageOf(t *testing.T, s Spec) string {
	t.Helper()
	held, release := hold(t, &s)
	r := start(t, s)
	held()
	exe, err := os.Readlink("/proc/" + strconv.Itoa(r.PID()) + "/exe")
	if err != nil {
		t.Fatal(err)
	}
	release()
	r.up()
	if got := r.wait(); !got.Success() {
		t.Error(got)
	}
	return exe
}

// The short way is taken where it is open: all else would still be right if it
// were not, and slow.
func TestShortWay(t *testing.T) {
	if got := imageOf(t, spec("/bin/true")); got != "/memfd:fugue-launch (deleted)" {
		t.Errorf("the short way executes %s", got)
	}
	s := spec("/bin/true")
	s.long = true
	if got := imageOf(t, s); got != exeName(t) {
		t.Errorf("the long way executes %s", got)
	}
}

// elsewhere runs a role of the test binary under conditions of its own.
func elsewhere(t *testing.T, exe, role string, attr *syscall.SysProcAttr, env ...string) string {
	t.Helper()
	cmd := exec.Command(exe)
	cmd.Env, cmd.SysProcAttr = append([]string{"FUGUE_TEST=" + role}, env...), attr
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// runAs starts a worker that writes to our output, and waits for it.
func runAs(s Spec) {
	s.Stdout, s.Stderr = 1, 2
	ended := make(chan struct{})
	_, err := Start(s, func(err error) {
		if err != nil {
			fmt.Println(err)
		}
	}, func() { close(ended) })
	if err != nil {
		fmt.Println(err)
		return
	}
	<-ended
}

// forbidding is a master whose processes may not execute a memfd.
func forbidding() {
	must := func(err error) {
		if err != nil {
			fmt.Println(err)
		}
	}
	must(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	must(unix.Mount("proc", "/proc", "proc", 0, ""))
	if err := os.WriteFile("/proc/sys/vm/memfd_noexec", []byte("2"), 0); errors.Is(err, fs.ErrNotExist) {
		fmt.Println("no sysctl")
		return
	}
	if _, err := unix.MemfdCreate("x", unix.MFD_EXEC); !errors.Is(err, unix.EACCES) {
		fmt.Println("memfd_create:", err)
	}
	runAs(spec("/bin/echo", "ran"))
}

func TestWithoutExecutableMemfds(t *testing.T) {
	got := elsewhere(t, exeName(t), "forbidding", &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS})
	if got == "no sysctl\n" && os.Getenv("CI") == "" && os.Getenv("FUGUE_E2E") != "required" {
		return // before Linux 6.3 nothing forbids it
	}
	if got != "ran\n" {
		t.Errorf("%q", got)
	}
}

// capable is a master that has its rights from its file.
func capable() {
	s := spec("/usr/bin/id")
	s.Plan.UID, s.Plan.GID = 65533, 65533
	runAs(s)
}

// Rights that come with fugue's file would be lost in a program without them.
func TestRightsOfTheFile(t *testing.T) {
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	exe := filepath.Join(dir, "master")
	copyFile(t, exeName(t), exe)
	// struct vfs_cap_data, version 2, effective: CAP_SETGID and CAP_SETUID.
	caps := make([]byte, 20)
	binary.LittleEndian.PutUint32(caps, 0x02000001)
	binary.LittleEndian.PutUint32(caps[4:], 1<<unix.CAP_SETGID|1<<unix.CAP_SETUID)
	if err := unix.Setxattr(exe, "security.capability", caps, 0); err != nil {
		t.Fatal(err)
	}
	got := elsewhere(t, exe, "capable", &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}})
	if !strings.HasPrefix(got, "uid=65533") || !strings.Contains(got, "gid=65533") {
		t.Errorf("%q", got)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}
