package release

import (
	"strconv"
	"strings"

	"fugue/internal/config"
)

// told is a stream socket as the dialects speak of it.
type told struct {
	fd      string
	address string
	path    bool // of a unix socket
}

// dialects says the workers' sockets in every dialect but systemd's, which has
// the worker's own PID in it. A variable that the user has said is left alone.
// Datagram sockets have no place in any of them.
func (m *maker) dialects() {
	m.rel.NoListenEnv = !m.cfg.Speaks(config.DialectSystemd)
	var all []told
	for i, s := range m.rel.Sockets {
		if s.Network == "tcp" || s.Network == "unix" {
			all = append(all, told{strconv.Itoa(firstFD + i), s.Address, s.Network == "unix"})
		}
	}
	if len(all) == 0 {
		return
	}
	for _, d := range m.cfg.Dialects {
		m.speak(d, all)
	}
}

func (m *maker) speak(d config.Dialect, all []told) {
	fds := func(s told) string { return s.fd }
	named := func(s told) string { return s.address + "=" + s.fd }
	switch d {
	case config.DialectEinhorn:
		// EINHORN_MASTER_PID is left out: a worker that finds its parent in it
		// wants to talk to it, and fugue is not one that answers.
		m.tell("EINHORN_FD_COUNT", strconv.Itoa(len(all)))
		m.tell("EINHORN_FDS", join(all, " ", fds))
		for i, s := range all {
			m.tell("EINHORN_FD_"+strconv.Itoa(i), s.fd)
			m.tell("EINHORN_FD_FAMILY_"+strconv.Itoa(i), family(s))
		}
	case config.DialectServerStarter:
		m.tell("SERVER_STARTER_PORT", join(all, ";", named))
		m.tellTemplate("SERVER_STARTER_GENERATION", "{generation}")
	case config.DialectNginx:
		m.tell("NGINX", join(all, ";", fds)+";")
	case config.DialectPHPFPM:
		m.tell("FPM_SOCKETS", join(all, ",", named))
	case config.DialectUnicorn:
		m.tell("UNICORN_FD", join(all, ",", fds))
	case config.DialectPuma:
		for i, s := range all {
			scheme := "tcp://"
			if s.path {
				scheme = "unix://"
			}
			m.tell("PUMA_INHERIT_"+strconv.Itoa(i), s.fd+":"+scheme+s.address)
		}
	case config.DialectSystemd: // in Command
	}
}

func family(s told) string {
	switch {
	case s.path:
		return "AF_UNIX"
	case strings.HasPrefix(s.address, "["):
		return "AF_INET6"
	}
	return "AF_INET"
}

func join(all []told, separator string, say func(told) string) string {
	words := make([]string, len(all))
	for i, s := range all {
		words[i] = say(s)
	}
	return strings.Join(words, separator)
}

func (m *maker) tell(name, value string) { m.tellOf(name, config.Literal(value)) }

func (m *maker) tellTemplate(name, text string) {
	t, err := config.ParseTemplate(text)
	if err != nil {
		panic(err) // a text of this file
	}
	m.tellOf(name, t)
}

func (m *maker) tellOf(name string, value config.Template) {
	for _, v := range m.rel.Env {
		if v.Name == name {
			return
		}
	}
	m.rel.SocketEnv = append(m.rel.SocketEnv, config.Variable{Name: name, Value: value})
}

// command is the user's words with those of the preset among them.
func (m *maker) command() []config.Template {
	words := m.sockets("command", m.cfg.Command)
	var streams []string
	for _, s := range m.rel.Sockets {
		if s.Network == "tcp" || s.Network == "unix" {
			streams = append(streams, s.Name)
		}
	}
	at, extra := m.cfg.PresetArguments(streams)
	if len(extra) == 0 {
		return words
	}
	all := append([]config.Template(nil), words[:at]...)
	for _, w := range extra {
		all = append(all, m.expand("preset", w))
	}
	return append(all, words[at:]...)
}
