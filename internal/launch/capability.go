package launch

import (
	"syscall"
	"unsafe"
)

// Capabilities are the rights of a worker that come neither with its user nor
// with its program. They are set once it has that user, and before anything is
// done with its rights.
type Capabilities struct {
	// Drop is taken out of the bounding set, for good: neither root nor a
	// program of root's gets it back. This comes before the change of user, as
	// it needs CAP_SETPCAP.
	Drop []Capability
	// Permitted is what the process has from then on, and Inheritable: bit n is
	// capability n. Root's programs have what is left of the bounding set.
	Permitted, Inheritable uint64
	// Ambient stays over the exec, for any user. It must be in both.
	Ambient []Capability
}

// A Capability is one of capabilities(7), with its name for the report.
type Capability struct {
	Number int
	Name   string
}

// Numbers of prctl(2) and capset(2).
const (
	PrSetKeepcaps     = 8
	PrCapbsetDrop     = 24
	PrCapAmbient      = 47
	PrCapAmbientRaise = 2
	PrCapAmbientClear = 4
	CapabilityVersion = 0x20080522 // _LINUX_CAPABILITY_VERSION_3
)

// Sets are what capset(2) takes: effective, permitted and inheritable, the
// lower halves first.
func (c *Capabilities) Sets() [6]uint32 {
	p, i := c.Permitted, c.Inheritable
	return [6]uint32{uint32(p), uint32(p), uint32(i), uint32(p >> 32), uint32(p >> 32), uint32(i >> 32)}
}

// StepDrop is what the report calls the end of a capability.
func (c Capability) StepDrop() string { return "drop " + c.Name + " from the bounding set" }

// StepRaise is what the report calls its coming into the ambient set.
func (c Capability) StepRaise() string { return "raise " + c.Name + " in the ambient set" }

// The names of the other steps.
const (
	StepKeep  = "keep capabilities over the change of user"
	StepClear = "clear the ambient set"
	StepSet   = "set capabilities"
)

// bound adds what has to come before the change of user.
func (c *Capabilities) bound(t []call) []call {
	if c == nil {
		return t
	}
	for _, d := range c.Drop {
		t = append(t, call{step: d.StepDrop(), nr: syscall.SYS_PRCTL, a: PrCapbsetDrop, b: uintptr(d.Number)})
	}
	if c.Permitted == 0 {
		return t
	}
	// The exec takes it back.
	return append(t, call{step: StepKeep, nr: syscall.SYS_PRCTL, a: PrSetKeepcaps, b: 1})
}

// set adds what comes after it.
func (c *Capabilities) set(t []call) []call {
	if c == nil {
		return t
	}
	head, sets := unsafe.Pointer(&[2]uint32{CapabilityVersion, 0}), unsafe.Pointer(new(c.Sets()))
	t = append(t, call{step: StepClear, nr: syscall.SYS_PRCTL, a: PrCapAmbient, b: PrCapAmbientClear})
	t = append(t, call{step: StepSet, nr: syscall.SYS_CAPSET, a: uintptr(head), b: uintptr(sets),
		keep: unsafe.Pointer(&struct{ head, sets unsafe.Pointer }{head, sets})})
	for _, r := range c.Ambient {
		t = append(t, call{step: r.StepRaise(), nr: syscall.SYS_PRCTL, a: PrCapAmbient, b: PrCapAmbientRaise, c: uintptr(r.Number)})
	}
	return t
}
