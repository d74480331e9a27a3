package proc

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"fugue/internal/loadtest"
)

// Orphans are collected, every one; a child of our own never, though it has
// ended before the look: its status is for who started it.
func TestOrphans(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = []string{"FUGUE_TEST=adopting", "ORPHANS=" + strconv.Itoa(loadtest.Scale(1000))}
	late := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "done\n" {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestOrphansAreAnothersBusiness(t *testing.T) {
	if InheritsOrphans() {
		t.Error("this test is neither PID 1 nor a subreaper")
	}
}

// adopting gets orphans and has children of its own that have ended.
func adopting() {
	if unix.Gettid() != os.Getpid() { // the test begins on whichever thread
		_ = syscall.Exec("/proc/self/exe", os.Args, os.Environ())
	}
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil || !InheritsOrphans() {
		fmt.Println("no subreaper:", err)
	}
	wanted := os.Getenv("ORPHANS")
	var own []int
	for _, command := range []string{"exit 7", "exit 7",
		"i=0; while [ $i -lt " + wanted + " ]; do i=$((i+1)); ( (exit 3) & ); done; exit 7"} {
		pid, err := syscall.ForkExec("/bin/sh", []string{"sh", "-c", command}, &syscall.ProcAttr{})
		if err != nil {
			fmt.Println(err)
			return
		}
		own = append(own, pid)
	}
	for _, pid := range own { // has ended, and is left as it is
		if err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
			fmt.Println(err)
		}
	}
	ended := make(chan struct{})
	stop := WatchOrphans(func() { ended <- struct{}{} })
	for n := 0; strconv.Itoa(n) != wanted; {
		<-ended
		n += ReapOrphans(func(pid int) bool { return slices.Contains(own, pid) })
	}
	go func() { // the watch may have one word more
		for range ended {
		}
	}()
	stop()
	for _, pid := range own {
		var status unix.WaitStatus
		if _, err := unix.Wait4(pid, &status, 0, nil); err != nil || status.ExitStatus() != 7 {
			fmt.Println("own child:", status.ExitStatus(), err)
		}
	}
	self := strconv.Itoa(os.Getpid())
	if text, err := os.ReadFile("/proc/self/task/" + self + "/children"); err != nil || strings.TrimSpace(string(text)) != "" {
		fmt.Printf("left: %q, %v\n", text, err)
	}
	fmt.Println("done")
}
