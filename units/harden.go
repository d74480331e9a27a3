package units

import (
	"slices"
	"strings"

	"fugue/internal/config"
)

// rights are what a master that is root needs to run workers of another user:
// to become them, to end them, to look at them and take their sockets back, to
// own the files of sockets, and to give limits above its own.
const rights = "CAP_SETUID CAP_SETGID CAP_SETPCAP CAP_KILL CAP_SYS_PTRACE CAP_CHOWN CAP_FOWNER CAP_DAC_OVERRIDE CAP_NET_BIND_SERVICE CAP_SYS_RESOURCE CAP_SYS_NICE"

// harden keeps the workers from what servers do without. Not among it is what a
// pool lives by: /proc is seen whole (readiness), cgroups can be written (they
// are delegated), ptrace and pidfd_getfd are allowed (handover, takeover); /tmp
// is the common one, because a private one is deleted under the workers that
// stay in a restart; memory may be written and executed, for JITs.
func harden(s *section, cfg *config.Config, o Options) {
	asUser := cfg.Install.RunAs == config.RunAsUser
	s.say("NoNewPrivileges", "yes")
	s.say("LockPersonality", "yes")
	s.say("RestrictRealtime", "yes")
	s.say("RestrictSUIDSGID", "yes")
	s.say("RestrictNamespaces", "yes")
	families := "AF_UNIX AF_INET AF_INET6 AF_NETLINK"
	for _, l := range cfg.Listeners {
		if strings.HasPrefix(l.Stream+l.Datagram, "vsock:") {
			families += " AF_VSOCK"
			break
		}
	}
	s.say("RestrictAddressFamilies", families)
	s.say("SystemCallArchitectures", "native")
	s.say("SystemCallFilter", "@system-service ptrace pidfd_getfd")
	if asUser && !o.User {
		s.say("SystemCallFilter", "~@privileged @resources")
	}
	s.say("SystemCallErrorNumber", "EPERM") // a denied call is an error, and no death
	if o.User {
		return // the rest needs a manager with rights
	}
	allowed := ambient(cfg)
	if !asUser {
		allowed = append(strings.Fields(rights), allowed...)
	}
	slices.Sort(allowed)
	s.say("CapabilityBoundingSet", strings.Join(slices.Compact(allowed), " "))
	s.say("KeyringMode", "private")
	s.say("PrivateDevices", "yes")
	s.say("DevicePolicy", "closed")
	s.say("PrivateMounts", "yes")
	for _, what := range []string{"Clock", "Hostname", "KernelLogs", "KernelModules", "KernelTunables"} {
		s.say("Protect"+what, "yes")
	}
	if !asUser {
		s.say("ProtectSystem", "full")
		return
	}
	s.say("ProtectSystem", "strict")
	home, writable := "yes", "-/srv -/var -/opt -/tmp -/run -/mnt -/media"
	for _, path := range []string{cfg.Directory, firstWord(cfg)} {
		if within(path, "/home") || within(path, "/root") {
			home, writable = "no", writable+" -/home -/root"
			break
		}
	}
	s.say("ReadWritePaths", writable)
	s.say("ProtectHome", home)
	if cfg.Limits.Umask < 0 {
		s.say("UMask", "0077")
	}
}

// ambient are the rights that workers are to have, whoever they are.
func ambient(cfg *config.Config) []string {
	var names []string
	if set := cfg.Limits.AmbientCapabilities; set != nil {
		for _, n := range set.Numbers() {
			names = append(names, config.CapabilityName(n))
		}
	}
	return names
}

func firstWord(cfg *config.Config) string {
	if len(cfg.Command) == 0 {
		return ""
	}
	return cfg.Command[0].String()
}

func within(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }
