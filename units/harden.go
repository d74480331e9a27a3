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
	asUser := runsAsUser(cfg, o)
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
	if asUser {
		s.say("SystemCallFilter", "~@privileged")
		if l := cfg.Limits; l.AmbientCapabilities != nil || l.CapabilityBoundingSet != nil {
			s.say("SystemCallFilter", "capset") // by it a worker is given less than the master has
		}
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
	s.say("ProtectSystem", "full") // workers write where their user may
	if !asUser {
		return
	}
	s.say("ProtectProc", "invisible") // of all others; root's master looks at processes of another user
	if !inHome(cfg) {
		s.say("ProtectHome", "yes")
	}
}

// inHome tells whether the file names anything in a home.
func inHome(cfg *config.Config) bool {
	paths := []string{cfg.Path, cfg.Directory}
	for _, words := range [][]config.Template{cfg.Command, cfg.Reload.Check, {cfg.Log.Stdout.Path, cfg.Log.Stderr.Path}} {
		for _, w := range words {
			paths = append(paths, w.String())
		}
	}
	for _, v := range cfg.Environment {
		paths = append(paths, v.Value.String())
	}
	for _, f := range cfg.EnvironmentFiles {
		paths = append(paths, f.Path)
	}
	for _, l := range cfg.Listeners {
		paths = append(paths, l.Stream, l.Datagram)
	}
	// Within a word too: --config=/home/…, PATH=/usr/bin:/home/….
	return slices.ContainsFunc(paths, func(s string) bool {
		return strings.Contains(s+"/", "/home/") || strings.Contains(s+"/", "/root/") || strings.Contains(s+"/", "/run/user/")
	})
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
