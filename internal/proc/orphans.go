package proc

import (
	"errors"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// InheritsOrphans reports whether processes whose parent has ended become
// children of this one: as PID 1, in a container say, or because whoever
// executed this program had made itself a subreaper (prctl(2)). fugue never
// makes itself one: what is left of a worker ends with its group, and what has
// left the group on purpose is nothing to a pool.
func InheritsOrphans() bool {
	if os.Getpid() == 1 {
		return true
	}
	var yes int32
	err := unix.Prctl(unix.PR_GET_CHILD_SUBREAPER, uintptr(unsafe.Pointer(&yes)), 0, 0, 0)
	return err == nil && yes != 0
}

// WatchOrphans calls ended, beside the loop, when children may have ended since
// the last time, and once at first, until stop is called. Nothing is collected
// by it.
func WatchOrphans(ended func()) (stop func()) {
	news := make(chan os.Signal, 1)   // room for one: each look is at all children
	signal.Notify(news, unix.SIGCHLD) //nolint:forbidigo // one that an exec loses is made good by the look at first
	done := make(chan struct{})
	go func() {
		for {
			ended()
			select {
			case <-news:
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(news)
		close(done)
	}
}

// ReapOrphans collects the children that have ended and are not own, and says
// how many. It never looks at what is own: a status is for who started it, and
// waiting for any child at all would take that away.
//
// Call it on the main thread, where workers are started, with own true for each
// of them. The kernel makes orphans children of the main thread, and only those
// are looked at: what other threads have started, for a job that waits for it
// itself, stays theirs.
func ReapOrphans(own func(pid int) bool) (n int) {
	self := strconv.Itoa(os.Getpid())
	text, err := os.ReadFile("/proc/" + self + "/task/" + self + "/children")
	if err != nil {
		return 0 // a kernel that does not list them
	}
	for word := range strings.FieldsSeq(string(text)) {
		pid, err := strconv.Atoi(word)
		if err != nil || own(pid) {
			continue
		}
		for {
			reaped, err := unix.Wait4(pid, nil, unix.WNOHANG, nil)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if err == nil && reaped == pid {
				n++
			}
			break
		}
	}
	return n
}
