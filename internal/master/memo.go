package master

import (
	"time"

	"fugue/internal/logs"
)

// Memo is what tells a process from every other, and where its output goes.
type Memo struct {
	Start      uint64     `json:"start"`                // field 22 of proc_pid_stat(5)
	Identifier string     `json:"identifier,omitempty"` // its lines in the journal
	Since      time.Time  `json:"since,omitzero"`       // of the journal's lines
	Pipes      logs.Pipes `json:"pipes,omitzero"`       // that the master relays
	Files      relayedTo  `json:"files,omitzero"`       // where it relays them to, if not to its own output
	Holds      string     `json:"holds,omitempty"`      // the log file that is its standard error
	Tmp        string     `json:"tmp,omitempty"`        // its temporary directory
	Cgroup     string     `json:"cgroup,omitempty"`     // its own, as in /proc/PID/cgroup
}

// relayedTo are the paths of log files; "" is none.
type relayedTo struct {
	Stdout string `json:"stdout,omitempty"`
	Stderr string `json:"stderr,omitempty"`
}

// relayed says which streams the master passes on.
func (m Memo) relayed() [2]bool { return [2]bool{m.Pipes.Stdout != 0, m.Pipes.Stderr != 0} }
