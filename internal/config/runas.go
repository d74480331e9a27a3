package config

import (
	"fmt"
	"slices"
	"strings"
)

// RunsAs is whom systemd is to start the master as: what run_as says, else user,
// unless something in the file takes a master that is root. why says what does,
// and is empty where the file says run_as itself.
func (c *Config) RunsAs() (who RunAs, why string) {
	switch {
	case c.Install.RunAs == RunAsRoot:
		return RunAsRoot, ""
	case c.Install.RunAs == RunAsUser && c.User != "":
		return RunAsUser, ""
	}
	if why = c.needsRoot(); why != "" {
		return RunAsRoot, why
	}
	return RunAsUser, ""
}

// onlyRoot is what no master but root's can do: the reason, and what helps.
func (c *Config) onlyRoot() (list [][2]string) {
	if c.Install.Sockets {
		return nil
	}
	const helps = "say sockets = true, so that systemd binds it"
	for _, l := range c.Listeners {
		switch {
		case l.User != "" || l.Group != "":
			list = append(list, [2]string{fmt.Sprintf("only root gives [listen.%s] another owner", l.Name), helps})
		case privileged(l.address()):
			list = append(list, [2]string{fmt.Sprintf("only root binds ports below 1024, such as that of [listen.%s]", l.Name), helps})
		}
	}
	return list
}

// needsRoot is the first thing in the file that takes a master that is root, or
// may take one. It is judged by the file, and not by what the machine has under
// the paths in it: a unit must not change with the mode of a directory.
func (c *Config) needsRoot() string {
	switch {
	case c.User == "":
		return "no user is said"
	case c.User == "root" || strings.Trim(c.User, "0") == "":
		return "user is root"
	case c.User == "nobody" || c.User == "65534":
		return "other services may run as nobody too, and could end the master"
	}
	for _, owner := range append([]string{c.User, c.Group}, c.SupplementaryGroups...) {
		if !validOwner(owner) {
			return fmt.Sprintf("%q is no user or group to systemd", owner)
		}
	}
	if list := c.onlyRoot(); len(list) > 0 {
		return list[0][0]
	}
	for _, need := range []func() string{c.filesOfRoot, c.limitsOfRoot, c.linesOfRoot} {
		if why := need(); why != "" {
			return why
		}
	}
	return ""
}

// filesOfRoot is about what the master itself reads and makes.
func (c *Config) filesOfRoot() string {
	switch {
	case c.Private != "":
		return "not everybody may read " + c.Private
	case len(c.EnvironmentFiles) > 0:
		return "environment_files may be for root alone to read"
	case c.PIDFile != "" && !c.owns(c.PIDFile):
		return "pid_file may be where only root writes"
	case strings.HasPrefix(c.TmpDirectory, "/") && !c.owns(c.TmpDirectory+"/"):
		return "tmp_directory may be where only root writes"
	case strings.HasPrefix(c.Log.Master, "/"):
		return "log.master may be where only root writes"
	case c.Control.Group != "":
		return "only root gives the control socket to a group"
	}
	for _, l := range c.Listeners {
		if address := l.address(); !c.Install.Sockets && strings.HasPrefix(address, "/") && !c.owns(address) {
			return fmt.Sprintf("the socket of [listen.%s] may be where only root writes", l.Name)
		}
	}
	return ""
}

// owns tells whether a path is where the master of any user may make files: in
// the pool's runtime directory, and where everybody may.
func (c *Config) owns(path string) bool {
	return slices.ContainsFunc([]string{"/run/fugue/" + c.Name + "/", "/tmp/", "/var/tmp/"}, func(dir string) bool {
		return strings.HasPrefix(path, dir)
	})
}

// limitsOfRoot is about what only root may raise or give. The unit says nofile,
// and the others have no hard limit under systemd.
func (c *Config) limitsOfRoot() string {
	l := c.Limits
	for _, r := range l.Rlimits {
		if r.Name == "nofile" && r.Hard == Unlimited || slices.Contains([]string{"nproc", "memlock", "msgqueue", "rtprio", "sigpending"}, r.Name) {
			return "only root raises limits." + r.Name
		}
	}
	switch {
	case l.Nice != nil && *l.Nice < 0:
		return "only root lowers limits.nice"
	case l.OOMScoreAdj != nil && *l.OOMScoreAdj < 0:
		return "only root lowers limits.oom_score_adj"
	case l.CapabilityBoundingSet != nil && c.Install.Hardening == HardeningOff:
		return "only root drops capabilities, where the unit does not"
	}
	if l.AmbientCapabilities == nil {
		return ""
	}
	for _, n := range l.AmbientCapabilities.Numbers() {
		if name := CapabilityName(n); !strings.HasPrefix(name, "CAP_NET_") {
			return "a master of that user could not have " + name + " kept from it again"
		}
	}
	return ""
}

// linesOfRoot is about lines of [systemd.service] that mean something else in a
// unit with User=.
func (c *Config) linesOfRoot() string {
	for _, s := range c.Systemd.Service {
		if strings.HasPrefix(s.Key, "Exec") || slices.Contains([]string{"User", "Group", "SupplementaryGroups", "DynamicUser"}, s.Key) {
			return "[systemd.service] says " + s.Key + "="
		}
	}
	return ""
}
