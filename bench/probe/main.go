// Command probe is a parent of processes for the benchmarks. It is linked with
// all of fugue, as a shim costs what its image costs, and does nothing but what
// it is told: start children bare or through the shim, or keep one child alive
// in the simplest way that Go has.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"fugue/internal/cli"
	"fugue/internal/launch"
	"fugue/internal/proc"
)

func main() {
	var err error
	switch os.Args[1] {
	case "spawn":
		err = spawn(os.Args[2], os.Args[3])
	case "keep":
		err = keep(os.Args[2])
	case "many":
		err = many(os.Args[2], os.Args[3:])
	case "fugue": // what keeps the linker from leaving fugue out
		os.Exit(cli.Main(os.Args[2:], cli.Deps{Version: "probe", Born: cli.Born, Run: cli.Run("probe")}))
	default:
		err = errors.New("no such task")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

// monotonic is the clock that the instant worker tells, in nanoseconds.
func monotonic() int64 {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	return now.Nano()
}

// spawn starts count workers each way in turn. It prints, for each pair, the
// nanoseconds from before the start until the worker's main: bare, through the
// shim.
func spawn(count, worker string) error {
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	heard, path, err := inbox()
	if err != nil {
		return err
	}
	defer os.Remove(path)
	env := []string{"INSTANT=" + path}
	out := json.NewEncoder(os.Stdout)
	for range n {
		bare, err := direct(worker, env, heard)
		if err != nil {
			return err
		}
		shim, err := shimmed(worker, env, heard)
		if err != nil {
			return err
		}
		if err := out.Encode([2]int64{bare, shim}); err != nil {
			return err
		}
	}
	return nil
}

func inbox() (*net.UnixConn, string, error) {
	path := fmt.Sprintf("%s/probe.%d", os.TempDir(), os.Getpid())
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	return conn, path, err
}

func hear(conn *net.UnixConn) (int64, error) {
	b := make([]byte, 128)
	_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
	n, err := conn.Read(b)
	if err != nil {
		return 0, err
	}
	_, at, _ := strings.Cut(string(b[:n]), " ")
	return strconv.ParseInt(at, 10, 64)
}

func direct(worker string, env []string, heard *net.UnixConn) (int64, error) {
	begin := monotonic()
	pid, err := syscall.ForkExec(worker, []string{worker}, &syscall.ProcAttr{Env: env})
	if err != nil {
		return 0, err
	}
	at, err := hear(heard)
	_ = syscall.Kill(pid, syscall.SIGKILL)
	_, _ = syscall.Wait4(pid, nil, 0, nil)
	return at - begin, err
}

func shimmed(worker string, env []string, heard *net.UnixConn) (int64, error) {
	exited := make(chan struct{})
	begin := monotonic()
	child, err := proc.Start(proc.Spec{
		Plan: launch.Plan{Path: worker, Args: []string{worker}, Env: env, Umask: -1, UID: -1, GID: -1},
		Name: "bench", Stdin: -1, Stdout: -1, Stderr: -1, CgroupFD: -1,
	}, func(error) {}, func() { close(exited) })
	if err != nil {
		return 0, err
	}
	at, err := hear(heard)
	_ = child.Signal(unix.SIGKILL)
	<-exited
	_, _ = child.Reap()
	return at - begin, err
}

// keep starts a worker again whenever it ends, until the end of stdin.
func keep(worker string) error {
	go func() {
		_, _ = os.Stdin.Read(make([]byte, 1))
		os.Exit(0) // the worker goes with us, see below
	}()
	runtime.LockOSThread() // the end of the thread that forks would end the worker
	for {
		pidfd := -1
		pid, err := syscall.ForkExec(worker, []string{worker}, &syscall.ProcAttr{
			Env: os.Environ(), Sys: &syscall.SysProcAttr{PidFD: &pidfd, Pdeathsig: syscall.SIGKILL},
		})
		if err != nil {
			return err
		}
		for {
			_, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, -1)
			if !errors.Is(err, unix.EINTR) {
				break
			}
		}
		_, _ = syscall.Wait4(pid, nil, 0, nil)
		_ = unix.Close(pidfd)
	}
}

// many starts count children bare as fast as it can, prints when it began, and
// ends them at the end of stdin.
func many(count string, command []string) error {
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	begin := monotonic()
	pids := make([]int, 0, n)
	defer func() {
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			_, _ = syscall.Wait4(pid, nil, 0, nil)
		}
	}()
	for range n {
		pid, err := syscall.ForkExec(command[0], command, &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}})
		if err != nil {
			return err
		}
		pids = append(pids, pid)
	}
	fmt.Println(begin)
	_, _ = os.Stdin.Read(make([]byte, 1))
	return nil
}
