package master

import (
	"path/filepath"
	"syscall"
	"time"

	"fugue/internal/handover"
	"fugue/pool"
)

// Leftover is a worker that a master wrote down, for who ends it in its place.
type Leftover struct {
	PID     int
	Start   uint64 // field 22 of proc_pid_stat(5)
	Signal  syscall.Signal
	Timeout time.Duration // from the signal to KILL; 0: none
}

// Leftovers reads from a runtime directory which workers its last master had.
// What cannot be read is nothing: there may be none.
func Leftovers(dir string) (list []Leftover) {
	slots, err := handover.Open(filepath.Join(dir, stateFile))
	if err != nil {
		return nil
	}
	defer slots.Close()
	s, err := readState(slots, "")
	if err != nil {
		return nil
	}
	stop := map[pool.Generation]Leftover{}
	for _, g := range s.Generations {
		stop[g.Number] = Leftover{Signal: syscall.Signal(g.Config.Stop.Signal), Timeout: finite(g.Config.Stop.Timeout)}
	}
	for _, w := range s.Workers {
		l := stop[w.Generation]
		l.PID, l.Start = w.PID, w.Memo.Start
		list = append(list, l)
	}
	return list
}
