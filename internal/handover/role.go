package handover

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Variable tells an image what it is in a handover: "rehearse:STATEFD", or
// "resume:STATEFD" with ",GUARDFD,GUARDPID" behind it where there is a guard.
const Variable = "FUGUE_HANDOVER"

// A Kind says what this process is.
type Kind int

// The kinds of a process that runs a pool.
const (
	FirstStart Kind = iota // nobody handed anything over
	Rehearsal              // a child of the master: prove that the state can be resumed, touch nothing, exit 0
	Resumption             // the master's next image, by exec: same PID, same children
)

func (k Kind) String() string {
	return [...]string{"first start", "rehearsal", "resumption"}[k]
}

// A Role is what FromEnv found.
type Role struct {
	Kind Kind
	// State is the state's descriptor, for FromFD; -1 at a first start. A
	// rehearsal shares it with the living master and only reads.
	State int
	// Guard, at a resumption, holds the signals back that came since before
	// the exec; nil where there is none. Release it once signals are watched,
	// with nil too: whoever forgets gets them after a minute.
	Guard *Guard
}

// FromEnv takes Variable out of the environment and gives the role of this
// process, with its descriptors close-on-exec. Call it at the start, but after
// what may start the process anew and needs the variable then (EnsureBlocked of
// package proc), and before anything is forked that could inherit them. A value
// that makes no sense is an error: a master that took it for a first start
// would run a second pool beside the first.
func FromEnv(lookup func(string) (string, bool), unset func(string) error) (Role, error) {
	v, ok := lookup(Variable)
	if !ok {
		return Role{Kind: FirstStart, State: -1}, nil
	}
	if err := unset(Variable); err != nil {
		return Role{}, fmt.Errorf("take %s: %w", Variable, err)
	}
	role, err := parseRole(v)
	if err != nil {
		return Role{}, fmt.Errorf("read %s=%q: %w (it is fugue's own: unset it)", Variable, v, err)
	}
	return role, nil
}

func parseRole(v string) (Role, error) {
	word, list, _ := strings.Cut(v, ":")
	var n []int
	for field := range strings.SplitSeq(list, ",") {
		i, err := strconv.ParseUint(field, 10, 31)
		if err != nil {
			return Role{}, errors.New("want KIND:NUMBER,…")
		}
		n = append(n, int(i))
	}
	switch {
	case word == "rehearse" && len(n) == 1:
		return Role{Kind: Rehearsal, State: n[0]}, inherited(n[0])
	case word == "resume" && len(n) == 1:
		return Role{Kind: Resumption, State: n[0]}, inherited(n[0])
	case word == "resume" && len(n) == 3:
		if err := inherited(n[0], n[1]); err != nil {
			return Role{}, err
		}
		g, err := resumeGuard(n[1], n[2])
		return Role{Kind: Resumption, State: n[0], Guard: g}, err
	}
	return Role{}, errors.New("want rehearse:FD, resume:FD or resume:FD,FD,PID")
}

// inherited checks that descriptors are open, and none of the standard ones,
// and makes them close-on-exec.
func inherited(fds ...int) error {
	for _, fd := range fds {
		if fd < 3 {
			return fmt.Errorf("descriptor %d is a standard one", fd)
		}
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
			return fmt.Errorf("descriptor %d: %w", fd, err)
		}
	}
	return nil
}
