package launch

import (
	"syscall"
	"unsafe"
)

// A call is one raw system call. keep holds what an argument points to: Go's
// heap does not move, it only must not be freed.
type call struct {
	step    string // in words, for the report
	nr      uintptr
	a, b, c uintptr
	d       uintptr
	keep    unsafe.Pointer
}

const (
	prSetPdeathsig  = 1
	prSetNoNewPrivs = 38
	signals         = 64 // the kernel's _NSIG on amd64 and arm64
	sigsetBytes     = signals / 8
	unchanged       = ^uintptr(0)
	atFDCWD         = ^uintptr(99) // -100
)

// tape is the rest of the plan, in the order that keeps rights and loses none
// too early: what may need root first, the bounding set last of it, then the
// identity, the capabilities that are to stay, and what must happen with the
// worker's own rights. Limits come late because the shim has
// to live with them.
func (p *Plan) tape(env []string, report int) ([]call, syscall.Errno) {
	path, err := syscall.BytePtrFromString(p.Path)
	if err != nil {
		return nil, number(err)
	}
	argv, err := syscall.SlicePtrFromStrings(p.Args)
	if err != nil {
		return nil, number(err)
	}
	envp, err := syscall.SlicePtrFromStrings(env)
	if err != nil {
		return nil, number(err)
	}
	dir, err := syscall.BytePtrFromString(p.Dir)
	if err != nil {
		return nil, number(err)
	}

	var t []call
	if p.Nice != nil {
		t = append(t, call{step: "set nice " + itoa(*p.Nice), nr: syscall.SYS_SETPRIORITY,
			a: syscall.PRIO_PROCESS, b: 0, c: uintptr(*p.Nice)})
	}
	if p.Umask >= 0 {
		t = append(t, call{step: "set umask", nr: syscall.SYS_UMASK, a: uintptr(p.Umask)})
	}
	for _, l := range p.Rlimits {
		v := unsafe.Pointer(&[2]uint64{l.Cur, l.Max})
		t = append(t, call{step: "set rlimit " + RlimitName(l.Resource), nr: syscall.SYS_PRLIMIT64,
			a: 0, b: uintptr(l.Resource), c: uintptr(v), keep: v})
	}
	t = p.Capabilities.set(p.identity(p.Capabilities.bound(t)))
	if p.NoNewPrivs {
		t = append(t, call{step: "set no_new_privs", nr: syscall.SYS_PRCTL, a: prSetNoNewPrivs, b: 1})
	}
	if p.Dir != "" {
		t = append(t, call{step: "change directory to " + p.Dir, nr: syscall.SYS_CHDIR,
			a: uintptr(unsafe.Pointer(dir)), keep: unsafe.Pointer(dir)})
	}
	for fd, file := range [...]string{1: p.Stdout, 2: p.Stderr} {
		if file == "" {
			continue
		}
		path, err := syscall.BytePtrFromString(file)
		if err != nil {
			return nil, number(err)
		}
		n, words := uintptr(fd), LogSteps(file, fd)
		t = append(t, call{step: words.Close, nr: syscall.SYS_CLOSE, a: n},
			call{step: words.Open, nr: syscall.SYS_OPENAT, a: atFDCWD, b: uintptr(unsafe.Pointer(path)),
				c: LogFlags | syscall.O_NOFOLLOW, d: LogMode, keep: unsafe.Pointer(path)},
			call{step: words.Judge, nr: syscall.SYS_SYNC_FILE_RANGE, a: n},
			call{step: words.Settle, nr: syscall.SYS_FCNTL, a: n, b: syscall.F_SETFL, c: syscall.O_APPEND})
	}
	if p.DeathSignal != 0 { // after the identity, whose change forgets it
		t = append(t, call{step: "ask for a signal at the master's death", nr: syscall.SYS_PRCTL, a: prSetPdeathsig, b: uintptr(p.DeathSignal)})
	}
	if p.Held { // at the end of the other side's life this reads nothing, and the report fails
		word := unsafe.Pointer(&[1]byte{})
		t = append(t, call{step: "wait for the master", nr: syscall.SYS_READ, a: uintptr(report), b: uintptr(word), c: 1, keep: word})
	}
	mark := unsafe.Pointer(&[1]byte{Executing})
	t = append(t, call{step: "report", nr: syscall.SYS_WRITE, a: uintptr(report), b: uintptr(mark), c: 1, keep: mark})
	every := make([]uintptr, signals)
	for i := range every {
		every[i] = uintptr(i + 1)
	}
	t = unblock(defaults(t, every))
	t = append(t, call{step: "execute " + p.Path, nr: syscall.SYS_EXECVE,
		a: uintptr(unsafe.Pointer(path)), b: uintptr(unsafe.Pointer(&argv[0])), c: uintptr(unsafe.Pointer(&envp[0])),
		keep: unsafe.Pointer(&struct{ path, argv, envp any }{path, argv, envp})})
	return t, 0
}

// SetsGroups reports whether the supplementary groups are to be replaced, by a
// master with the effective user that this process has.
func (p *Plan) SetsGroups() bool {
	if p.UID < 0 && p.GID < 0 {
		return p.Groups != nil
	}
	same := syscall.Geteuid() != 0 && (p.UID < 0 || p.UID == syscall.Geteuid())
	return p.Groups != nil || !same
}

// identity adds groups, then group, then user: each needs the rights that the
// next one gives up. The raw calls change this thread alone, which is enough
// for the exec and spares the other threads' consent.
func (p *Plan) identity(t []call) []call {
	if p.SetsGroups() {
		groups := make([]uint32, len(p.Groups), len(p.Groups)+1)
		for i, g := range p.Groups {
			groups[i] = uint32(g)
		}
		list := unsafe.Pointer(unsafe.SliceData(groups))
		t = append(t, call{step: "set groups", nr: syscall.SYS_SETGROUPS,
			a: uintptr(len(groups)), b: uintptr(list), keep: list})
	}
	if p.GID >= 0 {
		g := uintptr(p.GID)
		t = append(t, call{step: "set group " + itoa(p.GID), nr: syscall.SYS_SETRESGID, a: g, b: g, c: g})
	}
	if p.UID >= 0 {
		u := uintptr(p.UID)
		t = append(t, call{step: "set user " + itoa(p.UID), nr: syscall.SYS_SETRESUID, a: u, b: u, c: u})
	}
	return t
}

// deadly are the signals that Go's runtime unblocks and handles in a way of
// its own (a QUIT prints goroutines and exits 2): they must end a shim as they
// end any process, from the first moment that we can say so.
var deadly = [...]uintptr{1, 2, 3, 6, 15} // HUP INT QUIT ABRT TERM

// defaults adds the return to default dispositions. The exec would undo
// handlers, but not what is ignored; and a signal that waits must meet its
// default action, not a handler of a runtime that is about to vanish: a TERM
// sent since the fork kills here instead of being lost.
func defaults(t []call, list []uintptr) []call {
	action := unsafe.Pointer(&[32]byte{}) // struct sigaction of the kernel: SIG_DFL, no flags
	for _, sig := range list {
		if s := syscall.Signal(sig); s == syscall.SIGKILL || s == syscall.SIGSTOP {
			continue
		}
		t = append(t, call{step: "reset signals", nr: syscall.SYS_RT_SIGACTION,
			a: sig, b: uintptr(action), c: 0, d: sigsetBytes, keep: action})
	}
	return t
}

// unblock adds an empty signal mask.
func unblock(t []call) []call {
	none := unsafe.Pointer(&[sigsetBytes]byte{})
	return append(t, call{step: "unblock signals", nr: syscall.SYS_RT_SIGPROCMASK,
		a: sigSetmask, b: uintptr(none), c: 0, d: sigsetBytes, keep: none})
}

const sigSetmask = 2 // SIG_SETMASK

// run makes the calls. It never yields to the scheduler and never allocates:
// the new limits (address space, processes) hold already and would end the Go
// runtime if it asked for memory or for a thread here.
//
//go:nosplit
func run(t []call, report int) {
	for i := range t {
		c := &t[i]
		if _, _, errno := syscall.RawSyscall6(c.nr, c.a, c.b, c.c, c.d, 0, 0); errno != 0 {
			fail(report, c.step, errno)
		}
	}
}
