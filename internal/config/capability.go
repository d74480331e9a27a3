package config

import (
	"fmt"
	"strconv"
	"strings"
)

// Capabilities is a set of those of capabilities(7): bit n is number n.
type Capabilities uint64

// capabilityNames are in the order of their numbers.
var capabilityNames = [...]string{
	"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID",
	"SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
	"SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
	"SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
	"MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
	"CHECKPOINT_RESTORE",
}

// CapabilityName is what a capability is called in messages: "CAP_NET_RAW", or
// its number where it is too new to have a name here.
func CapabilityName(n int) string {
	if n >= 0 && n < len(capabilityNames) {
		return "CAP_" + capabilityNames[n]
	}
	return "capability " + strconv.Itoa(n)
}

// Has reports whether the set has a capability.
func (c Capabilities) Has(n int) bool { return n >= 0 && n < 64 && c&(1<<n) != 0 }

// Numbers are those of the capabilities in the set.
func (c Capabilities) Numbers() []int {
	var list []int
	for n := range 64 {
		if c.Has(n) {
			list = append(list, n)
		}
	}
	return list
}

// readCapability reads a name, with CAP_ or without, in any case.
func readCapability(s string) (int, error) {
	name := strings.TrimPrefix(strings.ToUpper(s), "CAP_")
	for n, known := range capabilityNames {
		if name == known {
			return n, nil
		}
	}
	if strings.HasPrefix(s, "~") {
		return 0, fmt.Errorf("%q: list the capabilities that are kept; there is no set of all but some", s)
	}
	if near := Nearest(name, capabilityNames[:]); near != "" {
		return 0, fmt.Errorf("unknown capability %q; did you mean CAP_%s?", s, near)
	}
	return 0, fmt.Errorf("unknown capability %q; capabilities(7) lists them", s)
}

// capabilities reads a set. An empty list is the empty set, and not what is
// left to its default.
func (d *decoder) capabilities(dst **Capabilities) schema {
	read := d.strings(`an array of names such as ["CAP_NET_BIND_SERVICE"]`, func(name, s string, e *node) {
		n, err := readCapability(s)
		if err != nil {
			d.errorf(e.pos, "%s: %w", name, err)
			return
		}
		**dst |= 1 << n
	})
	return schema{kind: List, set: func(name string, n *node) {
		*dst = new(Capabilities)
		read.set(name, n)
	}}
}

// checkCapabilities finds what the kernel could not raise in any worker.
func (d *decoder) checkCapabilities() {
	l := d.cfg.Limits
	if l.CapabilityBoundingSet == nil || l.AmbientCapabilities == nil {
		return
	}
	for _, n := range (*l.AmbientCapabilities &^ *l.CapabilityBoundingSet).Numbers() {
		d.errorf(d.cfg.Pos("limits.ambient_capabilities"), "limits.ambient_capabilities: %s is not in limits.capability_bounding_set: nothing that a worker runs may have it", CapabilityName(n))
	}
}
