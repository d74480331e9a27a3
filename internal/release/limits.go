package release

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"fugue/internal/config"
)

// capabilities takes over what workers may, and refuses what the kernel would
// refuse in every one of them.
func (m *maker) capabilities(me self) {
	l := m.cfg.Limits
	m.rel.CapabilityBoundingSet, m.rel.AmbientCapabilities = l.CapabilityBoundingSet, l.AmbientCapabilities
	if l.CapabilityBoundingSet != nil && me.bounding&^*l.CapabilityBoundingSet != 0 && !me.permitted.Has(unix.CAP_SETPCAP) {
		m.errorf("limits.capability_bounding_set", "limits.capability_bounding_set: fugue runs as uid %d without CAP_SETPCAP, which it takes to drop others; say it in the unit, CapabilityBoundingSet=", me.uid)
	}
	if l.AmbientCapabilities == nil {
		return
	}
	for _, n := range (*l.AmbientCapabilities &^ me.permitted).Numbers() {
		name := config.CapabilityName(n)
		m.errorf("limits.ambient_capabilities", "limits.ambient_capabilities: fugue runs as uid %d without %s and cannot give it to workers; in a unit say AmbientCapabilities=%s", me.uid, name, name)
	}
}

// limits refuses what setrlimit(2) and setpriority(2) would refuse.
func (m *maker) limits(me self) {
	for _, l := range m.cfg.Limits.Rlimits {
		m.rel.Rlimits = append(m.rel.Rlimits, Rlimit{Resource: l.Resource, Cur: l.Soft, Max: l.Hard})
		key := "limits." + l.Name
		if most, ok := me.mostFiles(); ok && l.Resource == unix.RLIMIT_NOFILE && l.Hard > most {
			m.errorf(key, "%s: %s is more than fs.nr_open, %d: no process may have more", key, amount(l.Hard), most)
			continue
		}
		if hard, ok := me.hard(l.Resource); ok && l.Hard > hard && !me.permitted.Has(unix.CAP_SYS_RESOURCE) {
			m.errorf(key, "%s: %s is above the hard limit, %s, and fugue runs as uid %d without CAP_SYS_RESOURCE: only root can raise it; in a unit say Limit%s=",
				key, amount(l.Hard), amount(hard), me.uid, strings.ToUpper(l.Name))
		}
	}
	if n := m.cfg.Limits.Nice; n != nil && me.niceness != nil && !me.permitted.Has(unix.CAP_SYS_NICE) {
		if least := me.niceness(); *n < least {
			m.errorf("limits.nice", "limits.nice: %d is less than %d, and fugue runs as uid %d without CAP_SYS_NICE: only root can raise a priority; in a unit say Nice=", *n, least, me.uid)
		}
	}
}

func amount(n uint64) string {
	if n == config.Unlimited {
		return "infinity"
	}
	return strconv.FormatUint(n, 10)
}

// hard is our own limit; it is not known where nobody asked the kernel.
func (me self) hard(resource int) (uint64, bool) {
	if me.rlimit == nil {
		return 0, false
	}
	return me.rlimit(resource)
}

func (me self) mostFiles() (uint64, bool) {
	if me.rlimit == nil {
		return 0, false
	}
	b, err := os.ReadFile("/proc/sys/fs/nr_open")
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	return n, err == nil
}

func hardLimit(resource int) (uint64, bool) {
	var l unix.Rlimit
	err := unix.Prlimit(0, resource, nil, &l)
	return l.Max, err == nil
}

// leastNice is the lowest niceness that a process without rights may take:
// its own, or what RLIMIT_NICE allows, see getrlimit(2).
func leastNice() int {
	least := 20
	if n, err := unix.Getpriority(unix.PRIO_PROCESS, 0); err == nil {
		least = 20 - n // the system call tells it so
	}
	var l unix.Rlimit
	if err := unix.Prlimit(0, unix.RLIMIT_NICE, nil, &l); err == nil {
		least = min(least, 20-int(min(l.Cur, 40)))
	}
	return least
}

// OwnCapabilities are those of this process: what it has, and the bounding set,
// which is all that it or what it executes could ever have.
func OwnCapabilities() (permitted, bounding config.Capabilities) {
	var data [2]unix.CapUserData
	if err := unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &data[0]); err == nil {
		permitted = config.Capabilities(data[0].Permitted) | config.Capabilities(data[1].Permitted)<<32
	}
	for n := range 64 {
		if has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(n), 0, 0, 0); err == nil && has == 1 {
			bounding |= 1 << n
		}
	}
	return permitted, bounding
}
