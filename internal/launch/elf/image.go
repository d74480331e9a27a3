package elf

import (
	"encoding/binary"
	"strings"
	"syscall"

	"fugue/internal/launch"
)

// An Image is a program for one process. Its file has Code at its beginning
// and Data at DataOffset, and a hole between.
type Image struct {
	Code, Data []byte
	// Steps are the names by which launch.ParseReport knows what failed.
	Steps []string
}

// DataOffset is where in the file the data lies: see asm/header.inc, from which
// these numbers are.
const (
	DataOffset = 0x10000

	dataAddress = 0x500000
	// Where the second program header says how much of the file and of memory
	// is data.
	sizeInFile   = 64 + 56 + 32
	sizeInMemory = sizeInFile + 8

	// What the data begins with.
	reportAt = 32
	recordAt = 43
	tapeAt   = 56
	headSize = 64
)

// What a step may be beside a plain system call.
const (
	writeDecimal = ^uint32(0) // no call: args are a number, where to write it, and the byte behind
	mayFail      = 1
	load         = 2 // the first argument is the address of what to pass
)

// An address is one in the memory of the program; 0 is none.
type address uint64

// A step of the tape.
type step struct {
	name   string
	number uint32
	flags  uint32
	args   [6]uint64
	store  address // of the result
}

// A builder collects data and steps. Whatever is asked of it gets its address
// at once, so that nothing is left to be relocated.
type builder struct {
	*Machine
	data []byte
	tape []step
	err  error // the first
}

func (m *Machine) build(report int) *builder {
	b := &builder{Machine: m, data: make([]byte, headSize, 4096)}
	binary.LittleEndian.PutUint64(b.data[reportAt:], uint64(report))
	b.data[recordAt] = launch.FailedStep
	return b
}

// bytes are aligned as anything that the kernel reads in them needs.
func (b *builder) bytes(p []byte) address {
	for len(b.data)%8 != 0 {
		b.data = append(b.data, 0)
	}
	at := dataAddress + address(len(b.data))
	b.data = append(b.data, p...)
	return at
}

func (b *builder) words(list ...uint64) address {
	p := make([]byte, 0, 8*len(list))
	for _, w := range list {
		p = binary.LittleEndian.AppendUint64(p, w)
	}
	return b.bytes(p)
}

// string ends with a zero, and has room behind it for so many bytes more. A
// zero within would end it early: the plan means something else.
func (b *builder) string(s string, room int) address {
	if strings.IndexByte(s, 0) >= 0 && b.err == nil {
		b.err = syscall.EINVAL
	}
	at := b.bytes([]byte(s))
	b.data = append(b.data, make([]byte, room+1)...)
	return at
}

// list is what execve(2) takes: the addresses of strings, and a zero.
func (b *builder) list(strings []string) address {
	at := make([]uint64, 0, len(strings)+1)
	for _, s := range strings {
		at = append(at, uint64(b.string(s, 0)))
	}
	return b.words(append(at, 0)...)
}

// call adds a system call.
func (b *builder) call(name string, number uint32, args ...uint64) *step {
	s := step{name: name, number: number}
	copy(s.args[:], args)
	b.tape = append(b.tape, s)
	return &b.tape[len(b.tape)-1]
}

// try adds one that may fail.
func (b *builder) try(number uint32, args ...uint64) *step {
	s := b.call("", number, args...)
	s.flags = mayFail
	return s
}

// decimal writes the number that is then at from, and end behind it. to is 0
// for right behind what was written last.
func (b *builder) decimal(from, to address, end byte) {
	b.call("", writeDecimal, uint64(from), uint64(to), uint64(end)).flags = load
}

// image puts it together: the tape lies behind the data.
func (b *builder) image() (Image, error) {
	if b.err != nil {
		return Image{}, b.err
	}
	binary.LittleEndian.PutUint64(b.data[tapeAt:], uint64(b.bytes(nil)))
	var steps []string
	for _, s := range b.tape {
		b.data = binary.LittleEndian.AppendUint32(b.data, s.number)
		b.data = binary.LittleEndian.AppendUint32(b.data, s.flags)
		for _, a := range s.args {
			b.data = binary.LittleEndian.AppendUint64(b.data, a)
		}
		b.data = binary.LittleEndian.AppendUint64(b.data, uint64(s.store))
		steps = append(steps, s.name)
	}
	code := []byte(b.code)
	binary.LittleEndian.PutUint64(code[sizeInFile:], uint64(len(b.data)))
	binary.LittleEndian.PutUint64(code[sizeInMemory:], uint64(len(b.data)))
	return Image{Code: code, Data: b.data, Steps: steps}, nil
}
