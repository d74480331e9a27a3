package doctor

import "strings"

// sockets looks at the .socket units of the service.
func (e *exam) sockets() {
	if c := e.Config; c != nil && c.Install.Sockets && len(e.Sockets) == 0 {
		e.find("sockets", "fugue binds instead, and nothing starts the pool at the first connection", "systemctl daemon-reload, or fugue units "+e.File+" --install",
			"%s wants sockets = true, and %s has no .socket unit", e.File, e.Unit)
	}
	for _, s := range e.Sockets {
		e.socket(s)
	}
}

func (e *exam) socket(s Socket) {
	switch state := s.Props.text("ActiveState"); {
	case s.Props.text("LoadState") != "loaded":
		e.find("socket-unit", "the service is wanted by a socket that systemd cannot read", "systemctl status "+s.Unit, "%s is not loaded: %s", s.Unit, s.Props.text("LoadState"))
		return
	case state == "failed":
		e.find("socket-listening", "connections are refused until it is started by hand", "systemctl reset-failed "+s.Unit+" && systemctl restart "+s.Unit+" "+e.Unit,
			"%s has failed: %s", s.Unit, s.Props.text("Result"))
	case state != "active" && e.Service.text("ActiveState") == "active":
		e.find("socket-listening", "the socket is the running master's alone: when the service stops, connections are refused", "systemctl stop "+e.Unit+" && systemctl start "+s.Unit+" "+e.Unit,
			"%s does not listen while %s runs", s.Unit, e.Unit)
	case state != "active":
		e.find("socket-listening", "connections are refused, and none starts the pool", "systemctl start "+s.Unit, "%s does not listen", s.Unit)
	}
	if s.Props.span("TriggerLimitIntervalUSec") != 0 {
		e.find("trigger-limit", "a service that ends at once a few times makes systemd close the socket: connections are refused until somebody comes", "add TriggerLimitIntervalSec=0 to [Socket] of "+s.Unit+"; then: systemctl daemon-reload",
			"%s has a trigger limit", s.Unit)
	}
	for _, path := range s.Missing {
		e.find("socket-path", "nobody can connect by a path that is gone; systemd does not notice", "systemctl stop "+e.Unit+" "+s.Unit+" && systemctl start "+s.Unit+" "+e.Unit+", and let no worker unlink the path at its end",
			"%s listens on %s, which has been unlinked", s.Unit, path)
	}
	if accept := s.Props.flag("Accept"); accept {
		e.find("accept", "systemd would start a pool for each connection", "remove Accept= from "+s.Unit+"; then: systemctl daemon-reload && systemctl restart "+s.Unit, "%s has Accept=yes", s.Unit)
	}
	if name := s.Props.text("FileDescriptorName"); e.Config != nil && name != "" && e.listener(name) == nil && !strings.HasPrefix(name, "fugue.") && len(e.Config.Listeners) > 0 {
		e.find("socket-name", "workers find it under a name that no table of the file has, behind all others", "FileDescriptorName= of "+s.Unit+" is to be the NAME of its [listen.NAME]; then: systemctl daemon-reload && systemctl restart "+s.Unit,
			"%s names its socket %q, and %s has no such listener", s.Unit, name, e.File)
	}
}
