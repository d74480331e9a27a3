package launch

import (
	"syscall"
	"unsafe"
)

// Blocked are the signals that a master is born with blocked. The others of
// package master are those that a Go program cannot keep so.
func Blocked() []syscall.Signal {
	return []syscall.Signal{syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGTTIN, syscall.SIGTTOU, syscall.SIGWINCH}
}

const sigBlock = 0

// beBorn executes a program that is to run a pool anew, with Blocked blocked,
// where its parent has not done so: what EnsureBlocked of package proc does too,
// for whom it still has to be done. Here it comes before the other packages
// initialise, which is most of what the start of a program costs, twice otherwise.
// Who is called to do anything else goes on, and so does who has no /proc.
func beBorn() {
	argv := arguments()
	if len(argv) < 2 || argv[1] != "run" && argv[1] != "demo" {
		return
	}
	var want, before uint64
	for _, sig := range Blocked() {
		want |= 1 << (sig - 1)
	}
	if sigmask(sigBlock, &want, &before) != 0 || before&want == want {
		return
	}
	_ = syscall.Exec(Image(), argv, syscall.Environ())
	_ = sigmask(sigSetmask, &before, nil)
}

// sigmask is rt_sigprocmask(2), for this thread: the one that executes.
func sigmask(how uintptr, set, old *uint64) syscall.Errno {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, how, uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(old)), sigsetBytes, 0, 0)
	return errno
}

// arguments are os.Args, which are not there yet; nil if they cannot be had.
func arguments() (argv []string) {
	fd, err := syscall.Open("/proc/self/cmdline", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer syscall.Close(fd)
	b, n := make([]byte, 4096), 0
	for {
		m, err := syscall.Read(fd, b[n:])
		if err != nil {
			return nil
		}
		if m == 0 {
			break
		}
		if n += m; n == len(b) {
			b = append(b, make([]byte, n)...)
		}
	}
	begin := 0
	for i, c := range b[:n] {
		if c == 0 { // ends each, an empty one too
			argv = append(argv, string(b[begin:i]))
			begin = i + 1
		}
	}
	return argv
}

// Image is the running binary, by its own path where it still has it: a
// process started as /proc/self/exe is called "exe" in every list and log.
func Image() string {
	const self, deleted = "/proc/self/exe", " (deleted)"
	var b [4096]byte
	n, err := syscall.Readlink(self, b[:])
	if err != nil || n == len(b) {
		return self
	}
	path := string(b[:n])
	if len(path) > len(deleted) && path[len(path)-len(deleted):] == deleted {
		return self
	}
	return path
}
