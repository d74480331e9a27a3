// Package daemon puts a program into the background as daemon(7) wants it: a
// session of its own that it does not lead, no terminal, no descriptor and no
// directory of whoever started it.
//
// A Go process cannot fork without an exec, so the program is started again, by
// way of one in between that makes the session and ends. A pipe leads from the
// daemon back to the process that a person called, which waits there for the
// word that all is well, or for what is not.
package daemon

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Variable tells an image what it is: STAGE:FD:DIRECTORY. FD is the pipe's end
// and is empty once it has been taken; DIRECTORY is where the caller was.
const Variable = "FUGUE_DAEMON"

type stage string

const (
	between stage = "between" // makes way for the session that it leads
	serving stage = "daemon"
)

// The pipe carries text for the caller's standard error, and lines that begin
// with a mark.
const (
	mark     = "\x00"
	wordPID  = mark + "pid " // and the number
	wordDone = mark + "ready"
	wordEnd  = mark + "end " // and the exit status
)

// umask is what systemd gives to services, and what workers inherit: the 0 of
// old would make the files of programs that do not think of it everybody's.
const umask = 0o022

// A Daemon is this process in the background. Writing to it reaches the caller's
// standard error for as long as that waits, and nobody afterwards.
type Daemon struct {
	dir    string
	report *os.File
	told   atomic.Bool // the caller does not wait any more
}

// Is reports whether this process, or the image before it, was put into the
// background already.
func Is(lookup func(string) (string, bool)) bool {
	s, _, _, err := parse(lookup)
	return err == nil && s == serving
}

// Take is how the daemon begins: after what may start the process anew, and
// before anything else. It is nil in the foreground.
func Take(lookup func(string) (string, bool)) (*Daemon, error) {
	s, fd, dir, err := parse(lookup)
	if err != nil || s != serving {
		return nil, err
	}
	d := &Daemon{dir: dir}
	if fd < 0 { // a later image
		d.told.Store(true)
		return d, nil
	}
	unix.CloseOnExec(fd)
	d.report = os.NewFile(uintptr(fd), "caller")
	if err := os.Setenv(Variable, string(serving)+"::"+dir); err != nil {
		return d, fmt.Errorf("go into the background: %w", err)
	}
	unix.Umask(umask)
	d.say(wordPID + strconv.Itoa(os.Getpid()))
	return d, nil
}

// Dir is the directory that the program was started in; the daemon itself is in
// the root, so that it keeps no file system busy.
func (d *Daemon) Dir() string { return d.dir }

// Write is for what the caller should read.
func (d *Daemon) Write(p []byte) (int, error) {
	if !d.told.Load() {
		_, _ = d.report.Write(p) // a caller that is gone has no more questions
	}
	return len(p), nil
}

func (d *Daemon) say(line string) { _, _ = d.Write([]byte(line + "\n")) }

// Ready lets the caller go, with status 0.
func (d *Daemon) Ready() { d.tell(wordDone) }

// End is the last word of a daemon that ends: the caller, if it still waits,
// ends with the same status.
func (d *Daemon) End(code int) { d.tell(wordEnd + strconv.Itoa(code)) }

func (d *Daemon) tell(word string) {
	if d.told.Load() {
		return
	}
	d.say(word)
	d.told.Store(true)
	_ = d.report.Close()
}

func parse(lookup func(string) (string, bool)) (s stage, fd int, dir string, err error) {
	v, ok := lookup(Variable)
	if !ok {
		return "", -1, "", nil
	}
	wrong := fmt.Errorf("read %s=%q: it is fugue's own: unset it", Variable, v)
	word, rest, _ := strings.Cut(v, ":")
	number, dir, ok := strings.Cut(rest, ":")
	s, fd = stage(word), -1
	if number != "" {
		var bad error
		fd, bad = strconv.Atoi(number)
		if _, closed := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); errors.Join(bad, closed) != nil || fd < 3 {
			return "", -1, "", wrong
		}
	}
	if !ok || dir == "" || s != serving && (s != between || fd < 0) {
		return "", -1, "", wrong
	}
	return s, fd, dir, nil
}
