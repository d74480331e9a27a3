package cli

import (
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestDemoWorker(t *testing.T) {
	release := filepath.Join(t.TempDir(), "release")
	if err := os.WriteFile(release, []byte("2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	socket := os.NewFile(uintptr(fd), "socket")
	defer socket.Close()
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 16); err != nil {
		t.Fatal(err)
	}
	bound, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: bound.(*unix.SockaddrInet4).Port}

	cmd := exec.Command("sh", "-c", `LISTEN_PID=$$ exec fugue demo --worker "$0"`, release)
	cmd.Env = append(os.Environ(), "LISTEN_FDS=1", "LISTEN_FDNAMES=http", "FUGUE_WORKER=3", "FUGUE_GENERATION=7", "GORACE=atexit_sleep_ms=0")
	cmd.ExtraFiles = []*os.File{socket}
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	get := func(path string) string {
		resp, err := http.Get("http://" + address.String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if got := get("/"); !regexp.MustCompile(`^release 2, generation 7, worker 3, pid \d+\n$`).MatchString(got) {
		t.Errorf("page: %q", got)
	}
	if got, want := get("/pid"), get("/"); !strings.HasSuffix(want, "pid "+got) {
		t.Errorf("pid: %q, page %q", got, want)
	}
	http.DefaultClient.CloseIdleConnections()
	cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("stopped: %v", err)
	}
}

func TestDemoAddress(t *testing.T) {
	free, remark, err := demoAddress("127.0.0.1:0")
	if err != nil || remark != "" {
		t.Errorf("free: %s, %q, %v", free, remark, err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got, remark, err := demoAddress(l.Addr().String())
	if err != nil || got == l.Addr().String() || remark != " ("+l.Addr().String()+" is taken)" {
		t.Errorf("taken: %s, %q, %v", got, remark, err)
	}
}

// What is printed works as printed, wherever the program lies.
func TestGuideCommands(t *testing.T) {
	for _, c := range []struct{ arg0, executable, want string }{
		{"fugue", "/usr/bin/fugue", "fugue"},
		{"./fugue", "/home/u/fugue", "./fugue"},
		{"/tmp/go-build123/b001/exe/fugue", filepath.Join(os.TempDir(), "go-build123/b001/exe/fugue"), "go run ."},
		{"/opt/my tools/it's", "/opt/my tools/it's", `'/opt/my tools/it'\''s'`},
	} {
		if got := typed(c.arg0, c.executable); got != c.want {
			t.Errorf("%s: got %s, want %s", c.arg0, got, c.want)
		}
	}
	xdg := t.TempDir()
	for _, c := range []struct {
		euid int
		xdg  string
		want bool
	}{{7, "", false}, {7, xdg, true}, {7, xdg + "/gone", false}, {0, "", true}} {
		if got := haveRuntimeDir(func(key string) string {
			if key == "XDG_RUNTIME_DIR" {
				return c.xdg
			}
			return ""
		}, c.euid); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
	words := demoOptions("/a/{b}", "/tmp/release", "127.0.0.1:1").Config.Overrides
	if got := words[1].Value; got != "/a/{{b}}" {
		t.Errorf("program: %s", got)
	}
}
