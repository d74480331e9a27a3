package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// install is the schema of [install].
func (d *decoder) install() schema {
	i := &d.cfg.Install
	return schema{file: true, keys: map[string]schema{
		"wanted_by": d.units(&i.WantedBy),
		"wants":     d.units(&i.Wants),
		"after":     d.units(&i.After),
		"sockets":   d.boolean(&i.Sockets),
		"hardening": d.oneOf((*string)(&i.Hardening), string(HardeningDefault), string(HardeningOff)),
		"run_as":    d.oneOf((*string)(&i.RunAs), string(RunAsAuto), string(RunAsRoot), string(RunAsUser)),
	}}
}

// unitPattern is what systemd takes for a unit's name: without a suffix it
// would pass over the word, and a template is nothing to wait for.
var unitPattern = regexp.MustCompile(`^[A-Za-z0-9:_.\\-]+(@[A-Za-z0-9:_.\\@-]+)?\.(automount|device|mount|path|scope|service|slice|socket|swap|target|timer)$`)

func (d *decoder) units(dst *[]string) schema {
	return d.strings("an array of units", func(name, s string, e *node) {
		if !unitPattern.MatchString(s) || len(s) > 255 || strings.Contains(s, "@.") {
			d.errorf(e.pos, `%s: %q is not the name of a unit such as "multi-user.target"`, name, s)
			return
		}
		*dst = append(*dst, s)
	})
}

// systemd is the schema of the [systemd.*] tables.
func (d *decoder) systemd() schema {
	s := &d.cfg.Systemd
	table := func(dst *[]Setting, ours map[string]string) schema {
		return schema{each: func(name string) (schema, error) { return d.setting(dst, name, ours) }}
	}
	return schema{file: true, keys: map[string]schema{
		"unit": table(&s.Unit, nil),
		"service": table(&s.Service, map[string]string{
			"ExecStart": "a unit with another command does not run the pool",
			"Type":      "only Type=notify tells systemd when the pool is ready",
			"BusName":   "the master is on no bus",
			"PAMName":   "systemd refuses it with KillMode=process, without which workers die with the master",
		}),
		"socket": table(&s.Socket, map[string]string{
			"Accept":             "a pool takes listening sockets, not connections",
			"Service":            "the socket is for this pool",
			"FileDescriptorName": "it is the listener's name",
			"ListenStream":       "say it as [listen.NAME] stream",
			"ListenDatagram":     "say it as [listen.NAME] datagram",
		}),
	}}
}

var settingPattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]*$`)

// setting reads one key of a unit file. What systemd makes of the value is its
// own business; what would become another line is refused.
func (d *decoder) setting(dst *[]Setting, key string, ours map[string]string) (schema, error) {
	if !settingPattern.MatchString(key) {
		return schema{}, fmt.Errorf("%q cannot be a key of a unit file: letters, digits and - only", key)
	}
	if why, ok := ours[key]; ok {
		return schema{}, fmt.Errorf("%s= is for fugue to write: %s", key, why)
	}
	return schema{kind: Text, set: func(name string, n *node) {
		s := Setting{Key: key}
		elems := []*node{n}
		if _, list := n.value.([]any); list {
			elems = n.elems
		}
		for i, e := range elems {
			at := name
			if e != n {
				at += element(i)
				d.cfg.Positions[at] = e.pos
			}
			value, err := settingValue(e)
			if err != nil {
				d.errorf(e.pos, "%s: %w", at, err)
				return
			}
			s.Values = append(s.Values, value)
		}
		*dst = append(*dst, s)
	}}.as(formSetting), nil
}

// formScalar and formSetting are what a line of a unit file may be written as.
var (
	formScalar  = form{"type": []any{"string", "integer", "boolean"}}
	formSetting = form{"anyOf": []any{formScalar, form{"type": "array", "items": formScalar}}}
)

func settingValue(n *node) (string, error) {
	switch v := n.value.(type) {
	case bool, int64:
		return fmt.Sprint(v), nil
	case string:
		return v, oneLine(v)
	}
	return "", errors.New("it must be a string, a whole number, true or false, or an array of these")
}

// oneLine refuses what would break out of a line of a unit file.
func oneLine(s string) error {
	if strings.ContainsFunc(s, unicode.IsControl) {
		return errors.New("it contains a line break or another control character, which no line of a unit can hold")
	}
	if strings.HasSuffix(s, `\`) {
		return errors.New(`a "\" at the end would join the next line to it`)
	}
	return nil
}

// checkInstall finds what could be no unit, so that the file is refused where
// its errors are looked for, and not by systemd.
func (d *decoder) checkInstall() {
	i := d.cfg.Install
	onDemand := slices.Contains(i.WantedBy, "sockets.target")
	switch {
	case i.Sockets && len(d.cfg.Listeners) == 0:
		d.errorf(d.cfg.Pos("install.sockets"), "install.sockets needs a [listen.NAME] to make a .socket unit of")
	case onDemand && !i.Sockets:
		d.errorf(d.cfg.Pos("install.wanted_by"), "install.wanted_by: sockets.target is for .socket units; say sockets = true too")
	}
	for _, l := range d.cfg.Listeners {
		if !i.Sockets {
			break
		}
		d.owner("listen."+l.Name+".user", l.User)
		d.owner("listen."+l.Name+".group", l.Group)
		if err := l.SocketUnit(); err != nil && validOwner(l.User) && validOwner(l.Group) {
			key := "listen." + l.Name + ".stream"
			if l.Datagram != "" {
				key = "listen." + l.Name + ".datagram"
			}
			d.errorf(d.cfg.Pos(key), "%s: %w", key, err)
		}
	}
	if i.RunAs == RunAsUser {
		d.checkRunAsUser()
	}
}

// ownerPattern is that of User= in systemd.exec(5), strictly.
var ownerPattern = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_-]{0,30}|[1-9][0-9]{0,8}|0)$`)

func validOwner(s string) bool {
	return s == "" || ownerPattern.MatchString(s) && s != "65535"
}

// owner refuses a name for which systemd would refuse the whole unit.
func (d *decoder) owner(key, value string) {
	if !validOwner(value) {
		d.errorf(d.cfg.Pos(key), "%s: %q is no user or group to systemd: letters, digits, _ and -, at most 31, or a number", key, value)
	}
}

// SocketUnit says why systemd would refuse a .socket unit for the listener.
func (l Listener) SocketUnit() error {
	address := l.address()
	refuse := func(why string) error { return fmt.Errorf("%q in a .socket unit: %s", address, why) }
	for _, owner := range []string{l.User, l.Group} {
		if !validOwner(owner) {
			return refuse("its owner is no user to systemd")
		}
	}
	switch err := oneLine(address); {
	case address == "" || l.Stream != "" && l.Datagram != "":
		return refuse("no address")
	case err != nil:
		return refuse(err.Error())
	case isUnix(address):
		if len(address) > 107 {
			return refuse("longer than 107 bytes, which is all that fits into an address")
		}
		if address[0] == '/' && filepath.Clean(address) != address {
			return refuse("systemd takes only a path without . and .. and doubled slashes")
		}
		if strings.TrimSpace(address) != address {
			return refuse("systemd cuts spaces off its end")
		}
	case strings.HasPrefix(address, "vsock:"):
		if !vsockPattern.MatchString(address) {
			return refuse("not of the form vsock:CID:PORT")
		}
	case strings.Contains(address, "%"):
		return refuse("the interface may not be there yet when systemd reads the unit; bind the address with free_bind, or all of them")
	case strings.Trim(address[strings.LastIndexByte(address, ':')+1:], "0") == "":
		return refuse("systemd needs a port")
	}
	return checkAddress(address)
}

var vsockPattern = regexp.MustCompile(`^vsock:[0-9]{0,9}:[0-9]{1,9}$`)

// checkRunAsUser finds what a master that is not root could not do.
func (d *decoder) checkRunAsUser() {
	c := d.cfg
	at := c.Pos("install.run_as")
	if c.User == "" {
		d.errorf(at, `install.run_as: "user" needs a user: say user = "web" at the top of the file`)
		return
	}
	d.owner("user", c.User)
	d.owner("group", c.Group)
	for i, g := range c.SupplementaryGroups {
		d.owner("supplementary_groups"+element(i), g)
	}
	for _, only := range c.onlyRoot() {
		d.errorf(at, "install.run_as: %s; %s", only[0], only[1])
	}
}

func privileged(address string) bool {
	if isUnix(address) {
		return false
	}
	port, _, _ := strings.Cut(address[strings.LastIndexByte(address, ':')+1:], "%")
	port = strings.TrimLeft(port, "0")
	return port != "" && (len(port) < 4 || len(port) == 4 && port < "1024")
}
