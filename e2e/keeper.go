package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// spec is what the keeper and the sandbox's init are told.
type spec struct {
	Root      string
	Dir       string            // the sandbox's directory outside; the keeper removes it
	Install   map[string]string // path inside: file outside
	Links     map[string]string // path inside: what it leads to
	Env       []string          // of PID 1
	Files     map[string]string // written before the boot
	CgroupTop string
	DBus      bool // the boot is over when systemd answers on the bus
}

// report is the keeper's one line of stdout.
type report struct {
	PID    int    // of systemd, outside
	Cgroup string // its directory, outside
}

// keeper makes the sandbox and ends it when stdin does, which is when the test
// is done or its process is gone, however that went: nothing of a sandbox
// outlives its test. It holds no state worth saving, so it only kills.
func keeper(stdin io.Reader, stdout io.Writer) int {
	// The kernel sends Pdeathsig when the thread that forked ends.
	runtime.LockOSThread()
	// Somebody's broad pkill must not leave a sandbox behind. Caught and not
	// ignored: the sandbox would inherit that.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	if err := keep(bufio.NewReader(stdin), stdout); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	return 0
}

func keep(stdin *bufio.Reader, stdout io.Writer) error {
	line, err := stdin.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("read the spec: %w", err)
	}
	var s spec
	if err := json.Unmarshal(line, &s); err != nil {
		return fmt.Errorf("read the spec: %w", err)
	}
	defer os.RemoveAll(s.Dir)
	enableControllers(s.CgroupTop)
	cgroup, err := os.MkdirTemp(s.CgroupTop, "fugue-e2e-")
	if err != nil {
		return err
	}
	// Everybody may look into a real /sys/fs/cgroup.
	if err := os.Chmod(cgroup, 0o755); err != nil {
		return err
	}
	gone := make(chan error, 1)
	init, err := startInit(s, line, cgroup)
	if err == nil {
		go func() { gone <- init.Wait() }()
		err = json.NewEncoder(stdout).Encode(report{init.Process.Pid, cgroup})
		told := make(chan struct{})
		go func() {
			_, _ = io.Copy(io.Discard, stdin)
			close(told)
		}()
		select {
		case <-told:
			// PID 1 takes all of its namespace with it.
			_ = init.Process.Kill()
			<-gone
		case how := <-gone:
			log, _ := os.ReadFile(bootLog(s.Dir))
			fmt.Fprintf(os.Stderr, "e2e: systemd ended: %v\n%s", how, log)
		}
	}
	return errors.Join(err, removeCgroup(cgroup))
}

// bootLog has what init and systemd print before there is a journal.
func bootLog(dir string) string { return filepath.Join(dir, "boot.log") }

func startInit(s spec, line []byte, cgroup string) (*exec.Cmd, error) {
	log, err := os.Create(bootLog(s.Dir))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	dir, err := os.Open(cgroup)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = selfEnv("init")
	cmd.Stdin = strings.NewReader(string(line))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{
		// No CLONE_NEWCGROUP: its root would be our cgroup and not the new one,
		// and systemd would make its slices in the machine's tree. init
		// unshares it when it is inside.
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWUTS |
			unix.CLONE_NEWIPC | unix.CLONE_NEWNET,
		UseCgroupFD: true,
		CgroupFD:    int(dir.Fd()),
		Pdeathsig:   syscall.SIGKILL,
		Setsid:      true,
	}
	return cmd, cmd.Start()
}

// cgroupTop is where the machine's cgroup2 hierarchy begins.
func cgroupTop() (string, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(mounts)) {
		before, after, _ := strings.Cut(line, " - ")
		fields := strings.Fields(before)
		if strings.HasPrefix(after, "cgroup2 ") && len(fields) > 4 {
			return fields[4], nil
		}
	}
	return "", errors.New("no cgroup2 file system is mounted")
}

// enableControllers gives the sandbox what limits a worker's cgroup, one by one,
// as far as the machine has it: a test asks the sandbox what that is.
func enableControllers(top string) {
	for _, name := range []string{"cpu", "memory", "pids"} {
		_ = os.WriteFile(filepath.Join(top, "cgroup.subtree_control"), []byte("+"+name), 0)
	}
}

// removeCgroup ends what is left in the tree, waits for the kernel to say that
// it is empty, and removes it from the leaves up.
func removeCgroup(dir string) error {
	if err := os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0); err != nil {
		return err
	}
	if err := awaitEmpty(dir); err != nil {
		return err
	}
	var dirs []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	})
	if err != nil {
		return err
	}
	for i := len(dirs) - 1; i >= 0; i-- { // parents come before their children
		if err := os.Remove(dirs[i]); err != nil {
			return err
		}
	}
	return nil
}

func awaitEmpty(dir string) error {
	fd, err := unix.Open(filepath.Join(dir, "cgroup.events"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	buf := make([]byte, 256)
	for {
		n, err := unix.Pread(fd, buf, 0)
		if err != nil {
			return err
		}
		if strings.Contains(string(buf[:n]), "populated 0") {
			return nil
		}
		// A change of the file is POLLPRI.
		n, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLPRI}}, 30_000)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		if n == 0 && err == nil {
			return fmt.Errorf("processes stay in %s", dir)
		}
	}
}
