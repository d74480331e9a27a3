package master

import (
	"fmt"
	"strconv"
	"syscall"
	"time"

	"fugue/internal/systemd"
)

// unitOf is the systemd service whose main process this is, or empty.
func unitOf(getenv func(string) string, pid int, cgroup string) string {
	return systemd.UnitOf(getenv, pid, cgroup)
}

// watchdogOf is the interval of sd_watchdog_enabled(3), 0 if there is none.
func watchdogOf(getenv func(string) string, pid int) time.Duration {
	if to := getenv("WATCHDOG_PID"); to != "" && to != strconv.Itoa(pid) {
		return 0
	}
	us, err := strconv.ParseInt(getenv("WATCHDOG_USEC"), 10, 64)
	if err != nil || us <= 0 {
		return 0
	}
	return time.Duration(us) * time.Microsecond
}

// ownJournal reports whether this process writes to the journal: then each
// worker gets a stream of its own. JOURNAL_STREAM alone is not proof, it is
// inherited: systemd.exec(5) has it compared with stderr.
func ownJournal(getenv func(string) string) bool {
	var st syscall.Stat_t
	if syscall.Fstat(2, &st) != nil {
		return false
	}
	return getenv("JOURNAL_STREAM") == fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}
