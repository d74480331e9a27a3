package release

import "fugue/internal/config"

// stdin decides whether workers have their listener as standard input too.
// Which of several would be meant nobody has said.
func (m *maker) stdin() {
	if m.cfg.Stdin != config.StdinSocket {
		return
	}
	m.rel.StdinSocket = true
	key, value := "stdin", `stdin = "socket"`
	if _, said := m.cfg.Positions[key]; !said { // it is the preset's
		key, value = "preset", `preset = "`+m.cfg.Preset+`" has stdin = "socket"; that`
	}
	switch n := len(m.rel.Sockets); {
	case n == 0:
		m.errorf(key, "%s needs a listener: say one in [listen.NAME], with -l, or in a .socket unit", value)
	case n > 1:
		m.errorf(key, "%s takes exactly one listener, and there are %d (%s)", value, n, names(m.rel.Sockets))
	}
}
