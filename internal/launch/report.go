package launch

import "syscall"

// The report is one byte 'x' written as the last thing before the exec, and
// for a step that fails 'f', the errno as four bytes, and the step's name; or
// 'i', the errno, and the step's place on the tape, from a program that knows no
// names. The exec closes the pipe; so does a death. Only the byte tells the two
// apart.
const (
	Executing  = 'x'
	FailedStep = 'i'
	failed     = 'f'
)

// maxReport keeps a report within one atomic write to a pipe (PIPE_BUF).
const maxReport = 4096 - 8

// A Report is what a shim had to say until its end of the pipe was closed.
type Report struct {
	// Reached: every step before the exec was done. Without it and without a
	// Step the shim died first, of a signal for instance.
	Reached bool
	// Step is the step that failed, in words; "" for none.
	Step  string
	Errno syscall.Errno
}

// ParseReport reads the whole contents of the report pipe. steps are the names
// of what is on the tape, if there was one.
func ParseReport(b []byte, steps []string) Report {
	var r Report
	if len(b) > 0 && b[0] == Executing {
		r.Reached, b = true, b[1:]
	}
	if len(b) < 5 {
		return r
	}
	switch n := syscall.Errno(number32(b[1:])); {
	case b[0] == failed:
		r.Errno, r.Step = n, string(b[5:])
	case b[0] == FailedStep && len(b) >= 9 && uint64(number32(b[5:])) < uint64(len(steps)):
		r.Errno, r.Step = n, steps[number32(b[5:])]
	}
	return r
}

func number32(b []byte) uint32 {
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}

func encodeFailure(step string, errno syscall.Errno) []byte {
	b := []byte{failed, byte(errno), byte(errno >> 8), byte(errno >> 16), byte(errno >> 24)}
	return append(b, step[:min(len(step), maxReport)]...)
}

// fail reports a step and ends the process as a shell does for a command that
// it could not run.
func fail(report int, step string, errno syscall.Errno) {
	b := encodeFailure(step, errno)
	_, _ = syscall.Write(report, b)
	syscall.Exit(127)
}
