package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// unitOf is what the numbers of a resource limit count.
type unitOf int

const (
	counts unitOf = iota
	sizes
	times
)

type rlimit struct {
	name     string
	resource int
	unit     unitOf
}

// The limits of setrlimit(2) that make sense for a worker. RLIMIT_NICE is left
// out: [limits] nice is the niceness itself.
var rlimits = []rlimit{
	{"as", unix.RLIMIT_AS, sizes},
	{"core", unix.RLIMIT_CORE, sizes},
	{"cpu", unix.RLIMIT_CPU, times},
	{"data", unix.RLIMIT_DATA, sizes},
	{"fsize", unix.RLIMIT_FSIZE, sizes},
	{"locks", unix.RLIMIT_LOCKS, counts},
	{"memlock", unix.RLIMIT_MEMLOCK, sizes},
	{"msgqueue", unix.RLIMIT_MSGQUEUE, sizes},
	{"nofile", unix.RLIMIT_NOFILE, counts},
	{"nproc", unix.RLIMIT_NPROC, counts},
	{"rss", unix.RLIMIT_RSS, sizes},
	{"rtprio", unix.RLIMIT_RTPRIO, counts},
	{"sigpending", unix.RLIMIT_SIGPENDING, counts},
	{"stack", unix.RLIMIT_STACK, sizes},
}

func (r rlimit) what() string {
	switch r.unit {
	case sizes:
		return `a size such as "64M", "infinity" or "SOFT:HARD"`
	case times:
		return `a time such as "10min", "infinity" or "SOFT:HARD"`
	}
	return `a number, "infinity" or "SOFT:HARD"`
}

func (r rlimit) form() form {
	if r.unit == times {
		return formDuration
	}
	return formSize
}

// read takes one value for both limits, or the two.
func (r rlimit) read(v any) (soft, hard uint64, err error) {
	s, ok := v.(string)
	if !ok {
		n, err := r.one(v)
		return n, n, err
	}
	first, second, two := strings.Cut(s, ":")
	if soft, err = r.one(first); err != nil || !two {
		return soft, soft, err
	}
	hard, err = r.one(second)
	return soft, hard, err
}

func (r rlimit) one(v any) (uint64, error) {
	if s, ok := v.(string); ok && strings.TrimSpace(s) == "infinity" {
		return Unlimited, nil
	}
	switch r.unit {
	case sizes:
		return readSize(v)
	case times:
		t, err := readDuration(v)
		if err == nil && t%time.Second != 0 {
			err = errors.New("whole seconds only")
		}
		return uint64(t / time.Second), err
	}
	switch v := v.(type) {
	case int64:
		if v < 0 {
			return 0, errNegative
		}
		return uint64(v), nil
	case string:
		n, err := strconv.ParseUint(strings.TrimSpace(v), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%q is not a number", v)
		}
		return n, nil
	}
	return 0, errKind
}
