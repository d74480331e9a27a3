package handover

import (
	"bufio"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// guardFD is the guard's end of the socket pair.
const guardFD = 3

// guardMain is the guard's whole life: rest is "PID,MILLISECONDS". When it
// ends, whatever the reason, the kernel lets every thread of the master go,
// and delivers a signal that was stopped on its way but not yet waited for.
func guardMain(rest string) int {
	var pid int
	var limit int64
	if _, err := fmt.Sscanf(rest, "%d,%d", &pid, &limit); err != nil || pid != os.Getppid() {
		return 127 // set by hand, or the master is gone
	}
	// A stop of the whole cgroup must not end the guard before it gave back
	// what it holds.
	signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM)
	unix.CloseOnExec(guardFD)
	runtime.LockOSThread()
	children := make(chan os.Signal, 1)
	signal.Notify(children, unix.SIGCHLD) //nolint:forbidigo // not the master, and nothing to lose: it says only that wait4 has something
	commands := make(chan string)
	go readCommands(commands)

	t := &tracer{pid: pid, threads: make(map[int]*thread), children: children}
	if <-commands != "start" {
		return 0
	}
	if err := t.attach(); err != nil {
		code := t.end() // the threads that are traced may have had some
		say(err.Error())
		return code
	}
	say("ready")
	return t.serve(commands, time.Duration(limit)*time.Millisecond)
}

// serve does what the master says until it says release, ends, or says nothing.
func (t *tracer) serve(commands <-chan string, limit time.Duration) int {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		t.drain()
		if t.gone {
			return 0
		}
		select {
		case <-t.children:
		case command := <-commands:
			switch command {
			case "hold":
				answer("held", t.hold())
				continue
			case "unhold":
				t.holding = false
				answer("unheld", t.visitAll(t.unmaskIfMasked))
				continue
			}
			return t.end() // released, or nobody is left to say so
		case <-timer.C:
			return t.end()
		}
	}
}

// hold masks every thread; those that are born meanwhile too.
func (t *tracer) hold() error {
	t.holding = true
	for {
		before := len(t.threads)
		if err := t.visitAll(t.mask); err != nil || len(t.threads) <= before {
			return err
		}
	}
}

func (t *tracer) end() int {
	t.drain() // what has come is held back, and one with others of its kind
	if err := t.resend(); err != nil {
		return 1
	}
	t.drain()
	return 0
}

// readCommands gives each line, and then "" for ever.
func readCommands(commands chan<- string) {
	lines := bufio.NewScanner(os.NewFile(guardFD, "master"))
	for lines.Scan() {
		commands <- lines.Text()
	}
	close(commands)
}

func answer(ok string, err error) {
	if err != nil {
		ok = err.Error()
	}
	say(ok)
}

// say tells the master one line. If it is gone, that shows elsewhere.
func say(line string) {
	_, _ = unix.Write(guardFD, []byte(strings.ReplaceAll(line, "\n", " ")+"\n"))
}

func statusLines(b []byte) []string { return strings.Split(string(b), "\n") }
