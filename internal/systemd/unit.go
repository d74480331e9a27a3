package systemd

import (
	"path"
	"strconv"
	"strings"
)

// UnitOf is the service that systemd started this process for, as its main
// process or as one of its commands, or empty. SYSTEMD_EXEC_PID
// (systemd.exec(5), since 248) tells it from a shell that merely inherited the
// variables of a service; the unit's name is the last element of our cgroup
// that is one. cgroup is the content of /proc/self/cgroup.
func UnitOf(getenv func(string) string, pid int, cgroup string) string {
	if getenv("SYSTEMD_EXEC_PID") != strconv.Itoa(pid) {
		return ""
	}
	for dir := ownPath(cgroup); dir != "/" && dir != "."; dir = path.Dir(dir) {
		if strings.HasSuffix(dir, ".service") {
			return path.Base(dir)
		}
	}
	return ""
}

// ofUser reports that the cgroup is below a user's own manager,
// user@UID.service: then that one is to be asked. The system's would say of
// any unit of the user's that it is not there.
func ofUser(cgroup string) bool {
	parent := path.Dir(ownPath(cgroup)) // the manager itself is the system's
	for element := range strings.SplitSeq(parent, "/") {
		if strings.HasPrefix(element, "user@") && strings.HasSuffix(element, ".service") {
			return true
		}
	}
	return false
}

// ownPath is the path in the line of version 2, "0::/path", of
// proc_pid_cgroup(5), or ".".
func ownPath(cgroup string) string {
	for line := range strings.Lines(cgroup) {
		if dir, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return path.Clean(dir)
		}
	}
	return "."
}
