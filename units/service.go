package units

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"fugue/internal/config"
)

const (
	// stopMargin is what a stop takes beside its workers' own time: asking
	// systemd for the job, and ending what had to be killed.
	stopMargin = 15 * time.Second
	// watchdog is how long the master's loop may stand still.
	watchdog = 30 * time.Second
	// brokenPause is between two attempts to start on a file that is broken:
	// slow enough for the journal, soon enough for whoever waits for the fix.
	brokenPause = 2 * time.Second
	// fewFiles is the kernel's own hard limit for open files: no system's is less.
	fewFiles = 4096
)

// service is the unit of the master. Why each line: docs/SYSTEMD.md.
func service(cfg *config.Config, sockets []Unit, o Options) Unit {
	unit := section{name: "Unit"}
	unit.say("Description", description(cfg, "", o))
	unit.say("Documentation", "man:fugue(1)")
	if cfg.Path != "" {
		unit.say("SourcePath", literal(cfg.Path))
	}
	if list := cfg.Install.Wants; len(list) > 0 {
		unit.say("Wants", literal(strings.Join(list, " ")))
	}
	after := slices.Clone(cfg.Install.After)
	if !o.User {
		after = append([]string{"network.target"}, after...)
	}
	if len(after) > 0 {
		unit.say("After", literal(strings.Join(after, " ")))
	}
	if _, said := cfg.Positions["directory"]; said {
		unit.say("RequiresMountsFor", word(filepath.Clean(cfg.Directory), false))
	}
	// A start limit would end the workers that serve, or refuse connections.
	unit.say("StartLimitIntervalSec", "0")
	unit.overrule(cfg.Systemd.Unit)

	s := section{name: "Service"}
	plus := "+" // with all rights, whatever User= is: they ask systemd
	if o.User {
		plus = ""
	}
	program := word(o.program(), true)
	asUser := runsAsUser(cfg, o)
	s.say("Type", "notify")
	s.say("NotifyAccess", "main")
	s.say("ExecStart", program+" run --config "+word(cfg.Path, true))
	if asUser {
		// Root may also talk to a master that was started as root, by the unit
		// of before.
		s.say("ExecReload", plus+program+" reload "+cfg.Name)
		s.say("ExecStop", plus+program+" stop --from-unit "+cfg.Name)
	} else {
		s.say("ExecReload", program+" reload "+cfg.Name)
	}
	s.say("ExecStopPost", plus+program+" sweep "+cfg.Name)
	if asUser {
		runAs(&s, cfg)
	}
	for _, socket := range sockets {
		s.say("Sockets", socket.Name)
	}
	restart(&s, o)
	s.say("TimeoutStopSec", span(stopTime(cfg)))
	s.say("WatchdogSec", span(watchdog))
	s.say("KillMode", "process")
	s.say("OOMPolicy", "continue")
	resources(&s, "fugue/"+cfg.Name, o)
	if cfg.Install.Hardening != config.HardeningOff {
		harden(&s, cfg, o)
	}
	s.overrule(cfg.Systemd.Service)

	wanted := wantedBy(cfg, false, o)
	return Unit{
		Name: cfg.Name + ".service", WantedBy: wanted,
		Text: text(append(head(cfg, o), runsAs(cfg, o)...), unit, s, install(wanted)),
	}
}

// runsAsUser tells whether systemd is to start the master as user.
func runsAsUser(cfg *config.Config, o Options) bool {
	who, _ := master(cfg, o)
	return who == config.RunAsUser && !o.User
}

// master is whom systemd is to start it as. For a user that is not there a root
// master says so, with the place in the file; systemd itself would only fail the
// unit with status 217/USER.
func master(cfg *config.Config, o Options) (who config.RunAs, why string) {
	who, why = cfg.RunsAs()
	if who == config.RunAsUser && o.HasUser != nil && !o.HasUser(cfg.User) {
		return config.RunAsRoot, "there is no user " + strconv.Quote(cfg.User)
	}
	return who, why
}

// runsAs says why the master is root where the file leaves that open.
func runsAs(cfg *config.Config, o Options) []string {
	if _, why := master(cfg, o); why != "" && !o.User {
		return []string{"run_as: root, because " + why + "."}
	}
	return nil
}

func install(wanted []string) section {
	s := section{name: "Install"}
	if len(wanted) > 0 {
		s.say("WantedBy", strings.Join(wanted, " "))
	}
	return s
}

// restart is for a master that dies: its workers serve until the next is there.
func restart(s *section, o Options) {
	s.say("Restart", "always")
	pause := 100 * time.Millisecond
	if o.Why != nil {
		pause = brokenPause
	}
	s.say("RestartSec", span(pause))
	if o.Version >= 254 && o.Why == nil {
		s.say("RestartSteps", "5")
		s.say("RestartMaxDelaySec", "2s")
		s.say("RestartMode", "normal")
	}
}

// resources are what the master has of systemd: its descriptors, a directory, a
// tree of cgroups.
func resources(s *section, dir string, o Options) {
	s.say("TasksMax", "50%") // a reload may need twice of what the pool needs
	s.say("Delegate", "yes")
	if o.Version >= 254 {
		s.say("DelegateSubgroup", "fugue")
	}
	s.say("FileDescriptorStoreMax", "4096")
	if o.Version >= 254 {
		s.say("FileDescriptorStorePreserve", "restart")
	}
	s.say("RuntimeDirectory", dir)
	s.say("RuntimeDirectoryPreserve", "restart")
}

func runAs(s *section, cfg *config.Config) {
	s.say("User", literal(cfg.User))
	if cfg.Group != "" {
		s.say("Group", literal(cfg.Group))
	}
	if len(cfg.SupplementaryGroups) > 0 {
		s.say("SupplementaryGroups", literal(strings.Join(cfg.SupplementaryGroups, " ")))
	}
	if rights := ambient(cfg); len(rights) > 0 {
		s.say("AmbientCapabilities", strings.Join(rights, " ")) // no master gives what it has not
	}
	for _, l := range cfg.Limits.Rlimits {
		// Nor raises what it has; a lower limit is the workers' alone.
		if l.Name == "nofile" && l.Hard >= fewFiles && l.Hard != config.Unlimited {
			s.say("LimitNOFILE", strconv.FormatUint(l.Hard, 10))
		}
	}
}

// stopTime is how long a stop may take: what a worker may, and the margin.
func stopTime(cfg *config.Config) time.Duration {
	if cfg.Stop.Timeout >= config.Infinity-cfg.Stop.Delay-stopMargin {
		return config.Infinity
	}
	return cfg.Stop.Delay + cfg.Stop.Timeout + stopMargin
}
