package proc

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Catches reports whether a process has a handler of its own for a signal, see
// SigCgt in proc_pid_status(5). One that has none ends of most.
func Catches(pid int, sig unix.Signal) (bool, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return false, fmt.Errorf("look at the signals of process %d: %w", pid, err)
	}
	for line := range strings.Lines(string(b)) {
		text, ok := strings.CutPrefix(line, "SigCgt:")
		if !ok {
			continue
		}
		set, err := strconv.ParseUint(strings.TrimSpace(text), 16, 64)
		if err != nil {
			return false, fmt.Errorf("look at the signals of process %d: %w", pid, err)
		}
		return set&(1<<(sig-1)) != 0, nil
	}
	return false, fmt.Errorf("look at the signals of process %d: its status does not say them", pid)
}
