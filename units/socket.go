package units

import (
	"fmt"
	"strconv"
	"strings"

	"fugue/internal/config"
)

// SocketName is the .socket unit of a listener. It has the listener's name also
// where there is only one: a second must not rename the first, which systemd
// would take for another socket.
func SocketName(pool, listener string) string {
	return pool + "-" + strings.ReplaceAll(listener, "@", `\x40`) + ".socket"
}

// socket is the unit of one listener, with all of its options.
func socket(cfg *config.Config, l config.Listener, o Options) Unit {
	unit := section{name: "Unit"}
	unit.say("Description", description(cfg, ": "+l.Name, o))
	unit.say("Documentation", "man:fugue(1)")
	if cfg.Path != "" {
		unit.say("SourcePath", literal(cfg.Path))
	}

	s := section{name: "Socket"}
	if l.Stream != "" {
		s.say("ListenStream", literal(l.Stream))
	} else {
		s.say("ListenDatagram", literal(l.Datagram))
	}
	s.say("FileDescriptorName", l.Name)
	s.say("Service", cfg.Name+".service")
	// A limit would end in refused connections, until a person comes.
	s.say("TriggerLimitIntervalSec", "0")
	if l.Stream != "" {
		backlog := l.Backlog
		if backlog == 0 {
			backlog = 1<<31 - 1 // the kernel cuts it to net.core.somaxconn
		}
		s.say("Backlog", strconv.Itoa(backlog))
	}
	s.options(l)
	s.overrule(cfg.Systemd.Socket)

	wanted := wantedBy(cfg, true, o)
	return Unit{
		Name: SocketName(cfg.Name, l.Name), WantedBy: wanted,
		Text: text(head(cfg, o), unit, s, install(wanted)),
	}
}

// options are those that are said in the file; systemd's defaults are fugue's.
func (s *section) options(l config.Listener) {
	flag := func(key string, value *bool) {
		if value != nil {
			s.sayf(key, "%t", *value)
		}
	}
	flag("ReusePort", l.ReusePort)
	flag("KeepAlive", l.KeepAlive)
	flag("NoDelay", l.NoDelay)
	if l.DeferAccept > 0 {
		s.say("DeferAcceptSec", span(l.DeferAccept))
	}
	flag("FreeBind", l.FreeBind)
	if l.BindIPv6Only != "" {
		s.say("BindIPv6Only", l.BindIPv6Only)
	}
	if l.ReceiveBuffer > 0 {
		s.say("ReceiveBuffer", strconv.FormatUint(l.ReceiveBuffer, 10))
	}
	if l.SendBuffer > 0 {
		s.say("SendBuffer", strconv.FormatUint(l.SendBuffer, 10))
	}
	if l.Mode != 0 {
		s.say("SocketMode", fmt.Sprintf("%04o", l.Mode))
	}
	if l.User != "" {
		s.say("SocketUser", literal(l.User))
	}
	if l.Group != "" {
		s.say("SocketGroup", literal(l.Group))
	}
	if strings.HasPrefix(l.Stream+l.Datagram, "/") {
		s.sayf("RemoveOnStop", "%t", l.RemoveOnStop)
	}
}
