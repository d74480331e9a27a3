// Package doctor compares how systemd runs a pool with how its file wants to be
// run. It is given what was seen, asks nobody, and says what is wrong, why it
// matters, and what mends it.
package doctor

import (
	"fmt"
	"strings"
	"time"

	"fugue/internal/config"
)

// Finding is one thing that is wrong.
type Finding struct {
	Check string `json:"check"` // which one; stays the same over versions
	What  string `json:"what"`
	Why   string `json:"why"`
	Fix   string `json:"fix"` // a command, or what to write where
}

// Seen is what was found out about a pool.
type Seen struct {
	Pool    string
	File    string // of the configuration
	Config  *config.Config
	Broken  error // why there is no Config
	Unit    string
	Service Properties // of the unit; nil: systemd knows none
	Sockets []Socket
	// Exec is the program of the unit's main process; empty where none runs.
	Exec    string
	Workers []Worker
	Flags   []Flag
}

// Properties are those of a unit, as D-Bus types (org.freedesktop.systemd1(5)).
type Properties map[string]any

// Socket is a .socket unit of the service.
type Socket struct {
	Unit    string
	Props   Properties
	Missing []string // paths that it listens on and that are no longer there
}

// Worker is one that is not ready although it had time.
type Worker struct {
	PID   int
	Child int // a process of it that has its LISTEN_PID; 0: none
}

// Flag is O_NONBLOCK of a listener.
type Flag struct {
	Listener    string
	NonBlocking bool
}

func (p Properties) text(name string) string {
	s, _ := p[name].(string)
	return s
}

func (p Properties) number(name string) uint64 {
	switch n := p[name].(type) {
	case uint64:
		return n
	case uint32:
		return uint64(n)
	case int32:
		return uint64(max(n, 0))
	}
	return 0
}

func (p Properties) flag(name string) bool {
	b, _ := p[name].(bool)
	return b
}

// span is a property that ends in USec.
func (p Properties) span(name string) time.Duration {
	us := p.number(name)
	if us > uint64(config.Infinity/time.Microsecond) {
		return config.Infinity
	}
	return time.Duration(us) * time.Microsecond
}

// list is a property of strings.
func (p Properties) list(name string) []string {
	l, _ := p[name].([]string)
	return l
}

// commands are the words of an Exec property, a line each.
func (p Properties) commands(name string) []string {
	var lines []string
	all, _ := p[name].([][]any)
	for _, c := range all {
		if len(c) > 1 {
			words, _ := c[1].([]string)
			lines = append(lines, strings.Join(words, " "))
		}
	}
	return lines
}

// exam is one pool being looked at.
type exam struct {
	Seen
	found []Finding
}

func (e *exam) find(check, why, fix, format string, args ...any) {
	e.found = append(e.found, Finding{Check: check, What: fmt.Sprintf(format, args...), Why: why, Fix: fix})
}

// drop is a Fix: lines for the unit, in the file that makes it.
func (e *exam) drop(lines string) string {
	return fmt.Sprintf("let fugue write the unit (fugue units %s --install), or add %s to it; then: systemctl daemon-reload", e.File, lines)
}

// Examine says what is wrong; nothing is nil.
func Examine(s Seen) []Finding {
	e := &exam{Seen: s}
	if s.Broken != nil {
		first, _, _ := strings.Cut(s.Broken.Error(), "\n")
		e.find("file", "no reload, no restart and no start takes a file with an error", "fugue check "+s.File, "%s", first)
	}
	if !e.loaded() {
		return e.found
	}
	e.service()
	e.times()
	e.sockets()
	e.processes()
	return e.found
}

func (e *exam) loaded() bool {
	switch state := e.Service.text("LoadState"); {
	case e.Service == nil || state == "not-found":
		e.find("unit", "systemd cannot start what it does not know", "systemctl daemon-reload", "there is no unit for pool %s", e.Pool)
		return false
	case state != "loaded":
		e.find("unit", "systemd does not start a unit that it could not read", "systemctl status "+e.Unit+" says why; mend it, then: systemctl daemon-reload",
			"%s is not loaded: %s", e.Unit, state)
		return false
	}
	if e.Service.flag("NeedDaemonReload") {
		e.find("daemon-reload", "systemd goes by the unit as it was", "systemctl daemon-reload", "the files of %s have changed since systemd read them", e.Unit)
	}
	return true
}
