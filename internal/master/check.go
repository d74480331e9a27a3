package master

import (
	"errors"
	"os"
	"slices"
	"strings"

	"fugue/internal/config"
	"fugue/internal/release"
)

// Check finds what is wrong with a configuration on this machine as far as
// that can be known without starting or binding anything: programs, users,
// directories, environment files, addresses. What systemd is going to pass is
// not known here; whatever placeholders speak of is taken to come from it. The
// release is what workers would be made from, for a person to look at.
func Check(cfg *config.Config) (*release.Release, error) {
	_, specsErr := specs(cfg)
	_, _, controlErr := controlRights(cfg)
	cgroupErr := checkControllers(cfg)
	rel, releaseErr := release.Make(cfg, likelySockets(cfg), os.Environ())
	var logsErr error
	if releaseErr == nil { // whose files they are is not known otherwise
		logsErr = checkLogs(cfg, rel)
	}
	var all config.Errors
	for _, err := range []error{specsErr, controlErr, cgroupErr, releaseErr, logsErr} {
		if some, ok := errors.AsType[config.Errors](err); ok {
			all = append(all, some...)
		} else if one, ok := errors.AsType[*config.Error](err); ok {
			all = append(all, one)
		}
	}
	if all == nil {
		return rel, errors.Join(specsErr, controlErr, cgroupErr, releaseErr, logsErr)
	}
	return rel, all
}

// likelySockets are those that are configured, and one for each other name
// that a placeholder uses.
func likelySockets(cfg *config.Config) []release.Socket {
	var sockets []release.Socket
	add := func(name, network, address string) {
		if !slices.ContainsFunc(sockets, func(s release.Socket) bool { return s.Name == name }) {
			sockets = append(sockets, release.Socket{Name: name, Network: network, Address: address})
		}
	}
	for _, l := range cfg.Listeners {
		network, address := "tcp", l.Stream
		if l.Datagram != "" {
			network, address = "udp", l.Datagram
		}
		switch {
		case strings.HasPrefix(address, "/"), strings.HasPrefix(address, "@"):
			network = "unix"
		case !strings.Contains(address, ":"):
			address = "[::]:" + address
		}
		add(l.Name, network, address)
	}
	templates := slices.Concat(cfg.Command, cfg.Reload.Check)
	for _, v := range cfg.Environment {
		templates = append(templates, v.Value)
	}
	for _, t := range templates {
		for _, p := range t.Placeholders() {
			if p.OfListener() && (p.Name != "" || len(sockets) == 0) {
				add(p.Name, "tcp", "127.0.0.1:1")
			}
		}
	}
	if len(sockets) == 0 && cfg.Preset != "" {
		add("", "tcp", "127.0.0.1:1") // a server has one
	}
	if cfg.Stdin == config.StdinSocket && len(sockets) == 0 {
		add("", "tcp", "127.0.0.1:1")
	}
	return sockets
}
