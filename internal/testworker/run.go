package testworker

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"fugue/worker"
)

// childEnv marks a process left behind: it holds what it inherited and waits.
const childEnv = "FUGUE_TESTWORKER_CHILD"

func (b Behaviour) run() error {
	if os.Getenv(childEnv) != "" {
		for { // until killed; with select {} the runtime sees a deadlock and ends
			_ = syscall.Pause()
		}
	}
	if b.IgnoreTerm {
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP)
	}
	wait(b.StartDelay)
	for _, line := range b.Stderr {
		os.Stderr.WriteString(line + "\n")
	}
	for _, line := range b.Stdout {
		os.Stdout.WriteString(line + "\n")
	}
	if b.LogEvery > 0 {
		go b.tick()
	}
	if b.Exit >= 0 {
		os.Exit(b.Exit)
	}
	for range b.Children {
		if err := b.leaveChild(); err != nil {
			return err
		}
	}
	if b.Hang {
		waitForStop()
		return nil
	}
	for _, state := range b.Notify {
		if err := worker.Notify(state); err != nil {
			return err
		}
	}
	srv := &http.Server{Addr: b.Addr, Handler: b.handler(), ReadHeaderTimeout: 10 * time.Second}
	if err := b.serve(srv); err != nil {
		return err
	}
	wait(b.StopDelay)
	return nil
}

// tick writes lines that can be counted. What it missed while it could not
// write it makes up for.
func (b Behaviour) tick() {
	begun := time.Now()
	for n := 1; ; n++ {
		wait(time.Until(begun.Add(time.Duration(n) * b.LogEvery)))
		if _, err := fmt.Fprintf(os.Stdout, "tick %d %d\n", os.Getpid(), n); err != nil {
			os.Exit(99)
		}
	}
}

// leaveChild starts this program again with the same sockets, so that they are
// held on after the worker's end.
func (b Behaviour) leaveChild() error {
	child := exec.Command("/proc/self/exe", os.Args[1:]...)
	child.Env = append(os.Environ(), childEnv+"=1")
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: b.Setsid}
	n, _ := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	for fd := 3; fd < 3+n; fd++ {
		dup, err := syscall.Dup(fd)
		if err != nil {
			return err
		}
		f := os.NewFile(uintptr(dup), "")
		defer f.Close()
		child.ExtraFiles = append(child.ExtraFiles, f)
	}
	return child.Start()
}

func (b Behaviour) die() {
	if b.DieSignal != 0 {
		_ = syscall.Kill(os.Getpid(), syscall.Signal(b.DieSignal))
		select {}
	}
	os.Exit(b.DieCode)
}

func wait(d time.Duration) {
	if d > 0 {
		<-time.After(d)
	}
}

func waitForStop() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	<-stop
}
