// Package elf makes, of a worker's plan, a program that carries it out between
// the fork and the user's command: some hundred instructions of machine code
// that work off a tape of system calls. It is what [launch]'s own shim does, in
// a tenth of a millisecond instead of the start of a Go runtime, which is most
// of what a worker's start would cost otherwise.
//
// Every image is whole and for one process: code, tape and data at fixed
// addresses in one ELF file, which the kernel maps and nothing has to read. So
// there is no state to keep between two workers, and none in the master.
//
// The code is assembly in asm, assembled by hand (make elf) and kept as bytes;
// a test assembles it again and compares.
package elf

import (
	_ "embed" // the code
	"runtime"
)

// A Machine is an architecture: its code, and its numbers of system calls.
type Machine struct {
	code string

	capset, chdir, close, connect, dup3, execve, fcntl, fstat, getpid, openat, prctl, prlimit, read,
	sendto, setgroups, setpriority, setresgid, setresuid, setsockopt, shutdown, socket, syncFileRange,
	umask, write uint32

	noFollow uint64 // O_NOFOLLOW
}

var (
	//go:embed asm/amd64.elf
	amd64 string
	//go:embed asm/arm64.elf
	arm64 string
)

// AMD64 is x86-64 Linux.
func AMD64() *Machine {
	return &Machine{
		code:   amd64,
		capset: 126, chdir: 80, close: 3, connect: 42, dup3: 292, execve: 59, fcntl: 72, fstat: 5, getpid: 39, openat: 257,
		prctl: 157, prlimit: 302, read: 0, sendto: 44, setgroups: 116, setpriority: 141, setresgid: 119, setresuid: 117,
		setsockopt: 54, shutdown: 48, socket: 41, syncFileRange: 277, umask: 95, write: 1, noFollow: 0x20000,
	}
}

// ARM64 is AArch64 Linux, little endian.
func ARM64() *Machine {
	return &Machine{
		code:   arm64,
		capset: 91, chdir: 49, close: 57, connect: 203, dup3: 24, execve: 221, fcntl: 25, fstat: 80, getpid: 172, openat: 56,
		prctl: 167, prlimit: 261, read: 63, sendto: 206, setgroups: 159, setpriority: 140, setresgid: 149, setresuid: 147,
		setsockopt: 208, shutdown: 210, socket: 198, syncFileRange: 84, umask: 166, write: 64, noFollow: 0x8000,
	}
}

// Native is the machine that fugue was built for; nil where there is no code
// for it.
func Native() *Machine {
	switch runtime.GOARCH {
	case "amd64":
		return AMD64()
	case "arm64":
		return ARM64()
	}
	return nil
}
