// Package units writes systemd's unit files for pools: a service, and a .socket
// unit for each listener where the file wants that, for what a given version of
// systemd knows. It is also the generator that does so for all of /etc/fugue at
// boot and at each daemon-reload. It only writes text: it asks neither systemd
// nor the system about anything that a boot would have to wait for.
package units

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"fugue/internal/config"
)

// Oldest is the version of systemd that units are written for at the least.
const Oldest = 252

// Program is where the package puts fugue.
const Program = "/usr/bin/fugue"

// Options say for whom units are written.
type Options struct {
	Version int    // of systemd; 0: Oldest
	Program string // absolute path of fugue; empty: Program
	User    bool   // for the manager of a user and not that of the system
	// HasUser tells whether this system knows a user; nil: it knows all.
	HasUser func(name string) bool
	// Why is what is wrong with the file, where it is broken: the units then
	// say so, and are otherwise what keeps a running pool as it is.
	Why error
}

func (o Options) program() string {
	if o.Program == "" {
		return Program
	}
	return o.Program
}

// Unit is one unit file.
type Unit struct {
	Name string // "web.service"
	Text string
	// WantedBy are the units that are to start it.
	WantedBy []string
}

// marker begins each unit file that fugue writes; the path of the configuration
// file follows. Doctor and `fugue units` know by it what is theirs.
const marker = "Made by fugue from "

// Make writes the units of a pool: the service first. An error is one of the
// file at a path that no unit can hold.
func Make(cfg *config.Config, o Options) ([]Unit, error) {
	if err := Name(cfg.Name); err != nil {
		return nil, config.Errors{&config.Error{Path: cfg.Path, Line: 1, Col: 1, Msg: err.Error()}}
	}
	if oneLine(cfg.Path) != cfg.Path {
		return nil, errors.New("write units: the path of the file has a line break or another control character in it; rename it")
	}
	var sockets []Unit
	if cfg.Install.Sockets {
		for _, l := range cfg.Listeners {
			if err := l.SocketUnit(); err != nil {
				continue // only in a broken file, which says so itself
			}
			sockets = append(sockets, socket(cfg, l, o))
		}
	}
	return append([]Unit{service(cfg, sockets, o)}, sockets...), nil
}

// Name says why a pool's name cannot be that of a unit.
func Name(name string) error {
	switch {
	case !config.ValidName(name):
		return fmt.Errorf("%q cannot be the name of a unit", name)
	case strings.HasSuffix(name, "@"):
		return fmt.Errorf("%q would be the name of a template and not of a unit: rename the file", name)
	case strings.HasPrefix(name, "systemd-"):
		return fmt.Errorf("%q is not a pool's name to take: names that begin with systemd- are systemd's own; rename the file", name)
	}
	return nil
}

// head is what each written file begins with.
func head(cfg *config.Config, o Options) []string {
	return []string{
		marker + cfg.Path,
		fmt.Sprintf("for systemd %d. Change that file and not this one; [systemd.service] there takes any line.", max(o.Version, Oldest)),
	}
}

// Made tells whether a unit file was written by fugue, and from which file.
func Made(text string) (from string, ok bool) {
	first, _, _ := strings.Cut(text, "\n")
	return strings.CutPrefix(first, "# "+marker)
}

// description is what `systemctl status` shows first: of a broken file, why.
func description(cfg *config.Config, what string, o Options) string {
	if o.Why == nil {
		return literal(oneLine("fugue pool " + cfg.Name + what))
	}
	first, _, more := strings.Cut(o.Why.Error(), "\n")
	if more {
		first += " (and more)"
	}
	return literal(oneLine(first))
}

// wantedBy are the units that start the service, or its sockets.
func wantedBy(cfg *config.Config, ofSocket bool, o Options) []string {
	const sockets = "sockets.target"
	list := cfg.Install.WantedBy
	var out []string
	for _, unit := range list {
		if o.User && unit == "multi-user.target" {
			unit = "default.target" // a user's manager has no other
		}
		if (unit == sockets) == ofSocket {
			out = append(out, unit)
		}
	}
	if ofSocket && len(out) == 0 && len(list) > 0 {
		out = []string{sockets} // started at boot, and so are what it stands behind
	}
	slices.Sort(out)
	return slices.Compact(out)
}
