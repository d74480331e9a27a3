package config

// Hardening is what the written service keeps workers from.
type Hardening string

// The values of [install] hardening.
const (
	HardeningDefault Hardening = "default" // what servers do without
	HardeningOff     Hardening = "off"     // nothing
)

// RunAs is whom systemd starts the master as.
type RunAs string

// The values of [install] run_as.
const (
	RunAsAuto RunAs = "auto" // user, where the file needs no root: see Config.RunsAs
	RunAsRoot RunAs = "root" // and workers drop to user
	RunAsUser RunAs = "user" // the master is the workers' user from the start
)

// Install says how systemd is to run the pool. A master does not look at it: it
// is for the units that are written for the file.
type Install struct {
	WantedBy  []string  // units that start the pool; sockets.target: its sockets
	Wants     []string  // units that are started with it
	After     []string  // units that it is started after
	Sockets   bool      // a .socket unit for each listener, else fugue binds itself
	Hardening Hardening // "" is HardeningDefault, for states of before
	RunAs     RunAs     // "" is RunAsAuto; ask Config.RunsAs
}

// Systemd are the [systemd.*] tables: lines for the written units that have the
// last word.
type Systemd struct {
	Unit    []Setting // [Unit] of the service
	Service []Setting
	Socket  []Setting // of each .socket unit
}

// Setting is one key of a unit file, in systemd's own syntax.
type Setting struct {
	Key    string
	Values []string // a line each; none: the key is left out
}
