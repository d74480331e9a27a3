package master

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
)

// unitOf is the systemd service whose main process this is, or empty.
// SYSTEMD_EXEC_PID (systemd.exec(5), since 248) tells it from a shell that
// merely inherited the variables of a service; the unit's name is the last
// element of our cgroup that is one.
func unitOf(getenv func(string) string, pid int, cgroup string) string {
	if getenv("SYSTEMD_EXEC_PID") != strconv.Itoa(pid) {
		return ""
	}
	for line := range strings.Lines(cgroup) {
		dir, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		for ; ok && dir != "/" && dir != "."; dir = path.Dir(dir) {
			if strings.HasSuffix(dir, ".service") {
				return path.Base(dir)
			}
		}
	}
	return ""
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

// job asks systemd what it is doing to a unit: the type of its job, empty
// for none. One call answers it. A manager that is executing itself anew
// refuses or resets connections for some 100 ms: that is tried again until
// ctx ends, because to take a restart for a stop would cost a pause.
func job(ctx context.Context, unit string) (string, error) {
	for {
		kind, err := askJob(ctx, unit)
		if err == nil || !transient(err) {
			return kind, err
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return "", err
		}
	}
}

func askJob(ctx context.Context, unit string) (string, error) {
	conn, err := dbus.NewSystemdConnectionContext(ctx) // root's private socket: needs no bus
	if err != nil && !transient(err) {
		conn, err = dbus.NewSystemConnectionContext(ctx)
	}
	if err != nil {
		return "", fmt.Errorf("connect to systemd: %w", err)
	}
	defer conn.Close()
	list, err := conn.ListUnitsByNamesContext(ctx, []string{unit})
	if err != nil {
		return "", fmt.Errorf("ask systemd for the job of %s: %w", unit, err)
	}
	for _, u := range list {
		if u.Name == unit {
			return u.JobType, nil
		}
	}
	return "", fmt.Errorf("ask systemd for the job of %s: it does not know the unit", unit)
}

func transient(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, os.ErrClosed)
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
