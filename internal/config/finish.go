package config

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// finish judges what only the whole shows.
func (d *decoder) finish() {
	c := d.cfg
	if c.Directory == "" {
		c.Directory = d.workDir
	}
	d.applyPreset()
	if _, said := c.Positions["command"]; !said {
		d.errorf(c.Pos("command"), `no command: say what the workers run, command = ["./server"] in the file or as the last arguments`)
	}
	for _, l := range d.listen {
		d.checkListener(l)
		c.Listeners = append(c.Listeners, *l)
	}
	d.checkAddresses()
	d.checkReload()
	d.checkTimes()
	d.checkCapabilities()
	d.checkCgroup()
	if _, said := c.Positions["environment.TMPDIR"]; said && c.TmpDirectory != "" {
		d.errorf(c.Pos("environment.TMPDIR"), "environment.TMPDIR: tmp_directory sets it, for each worker to its own")
	}
	d.checkPlaceholders()
	d.checkInstall()
}

// unix tells whether a listener's address is a path or an abstract name.
func isUnix(address string) bool {
	return strings.HasPrefix(address, "/") || strings.HasPrefix(address, "@")
}

func (l *Listener) address() string { return l.Stream + l.Datagram }

func (d *decoder) checkListener(l *Listener) {
	table := "listen." + l.Name
	at := func(key string) Pos { return d.cfg.Pos(table + "." + key) }
	_, stream := d.cfg.Positions[table+".stream"]
	_, datagram := d.cfg.Positions[table+".datagram"]
	switch {
	case stream && datagram:
		d.errorf(at("datagram"), "[%s] has both stream and datagram; one listener is one of them", table)
		return
	case !stream && !datagram:
		d.errorf(at("stream"), `[%s] has no address: say stream = "8080" or datagram = "53"`, table)
		return
	}
	address, key := l.address(), "stream"
	if datagram {
		key = "datagram"
	}
	if address == "" {
		return // said, and refused already
	}
	if err := checkAddress(address); err != nil {
		d.errorf(at(key), "%s.%s: %w", table, key, err)
	}
	refuse := func(why string, keys ...string) {
		for _, key := range keys {
			if _, said := d.cfg.Positions[table+"."+key]; said {
				d.errorf(at(key), "%s.%s: %s, and %q is not", table, key, why, address)
			}
		}
	}
	local, path := isUnix(address), strings.HasPrefix(address, "/")
	if local {
		refuse("only for internet sockets", "reuse_port", "free_bind", "bind_ipv6_only")
	}
	if local || datagram {
		refuse("only for TCP sockets", "keep_alive", "no_delay", "defer_accept")
	}
	if datagram {
		refuse("only for stream sockets", "backlog")
	}
	if !path {
		refuse("only for unix sockets with a path", "mode", "user", "group", "remove_on_stop")
	}
	if _, said := d.cfg.Positions[table+".remove_on_stop"]; path && !said {
		l.RemoveOnStop = true
	}
}

// checkAddress finds what is plainly no address, with a hint for what people
// write elsewhere. The listener itself has the last word.
func checkAddress(s string) error {
	if isUnix(s) || strings.HasPrefix(s, "vsock:") {
		if len(s) < 2 {
			return fmt.Errorf("%q names nothing", s)
		}
		return nil
	}
	if strings.Trim(s, "0123456789") == "" {
		return checkPort(s)
	}
	if host, port, ok := strings.Cut(s, "]:"); ok && strings.HasPrefix(host, "[") {
		port, _, _ = strings.Cut(port, "%")
		if ip, err := netip.ParseAddr(host[1:]); err != nil || !ip.Is6() {
			return fmt.Errorf("%q is not an IPv6 address", host[1:])
		}
		return checkPort(port)
	}
	host, port, _ := strings.Cut(s, ":")
	if ip, err := netip.ParseAddr(host); err == nil && ip.Is4() {
		return checkPort(port)
	}
	if (host == "" || host == "*") && checkPort(port) == nil {
		return fmt.Errorf("%q: for all addresses say %q", s, port)
	}
	return fmt.Errorf("%q is not an address: PORT, IPV4:PORT, [IPV6]:PORT, /path or @name; names of hosts are not looked up", s)
}

func checkPort(s string) error {
	if _, err := strconv.ParseUint(s, 10, 16); err != nil {
		return fmt.Errorf("%q is not a port, 0 to 65535", s)
	}
	return nil
}

// checkAddresses refuses what could only fail when the second one is bound.
func (d *decoder) checkAddresses() {
	type key struct{ stream, datagram string }
	first := map[key]*Listener{}
	for _, l := range d.listen {
		k := key{l.Stream, l.Datagram}
		other := first[k]
		if other == nil {
			first[k] = l
			continue
		}
		what := "stream"
		if l.Datagram != "" {
			what = "datagram"
		}
		if l.address() != "" && !(isTrue(l.ReusePort) && isTrue(other.ReusePort)) {
			d.errorf(d.cfg.Pos("listen."+l.Name+"."+what), "listen.%s.%s: %q is the address of [listen.%s] already", l.Name, what, l.address(), other.Name)
		}
	}
}

func isTrue(b *bool) bool { return b != nil && *b }

func (d *decoder) checkReload() {
	c := d.cfg
	r := c.Reload
	if r.MaxSurge.Value == 0 && r.MaxUnavailable.Value == 0 {
		d.errorf(c.Pos("reload.max_surge"), "reload.max_surge and reload.max_unavailable are both 0: no worker could ever be replaced")
	}
	if r.MaxUnavailable.Percent && r.MaxUnavailable.Value > 100 {
		d.errorf(c.Pos("reload.max_unavailable"), "reload.max_unavailable: %s of the workers are more than all", r.MaxUnavailable)
	}
}

func (d *decoder) checkTimes() {
	c := d.cfg
	if c.Watchdog.KillAfter == 0 {
		c.Watchdog.KillAfter = c.Stop.Timeout
	}
	if _, said := c.Positions["ready.delay"]; said && c.Ready.When != WhenStarted {
		d.errorf(c.Pos("ready.delay"), `ready.delay needs when = "started", and ready.when is %q`, c.Ready.When)
	}
	if c.Ready.When == WhenStarted && c.Ready.Delay >= c.Ready.Timeout {
		d.errorf(c.Pos("ready.delay"), "ready.delay is not less than ready.timeout: no worker could ever be ready")
	}
	if c.Restart.MaxBackoff < c.Restart.Backoff {
		key := "restart.max_backoff"
		if _, said := c.Positions[key]; !said {
			key = "restart.backoff"
		}
		d.errorf(c.Pos(key), "restart.max_backoff is less than restart.backoff")
	}
}

// checkPlaceholders finds what no socket from systemd could put right; a name
// that is not in the file may still come from a .socket unit.
func (d *decoder) checkPlaceholders() {
	c := d.cfg
	for i, t := range c.Command {
		d.placeholders("command"+element(i), t)
	}
	for _, v := range c.Environment {
		d.placeholders("environment."+v.Name, v.Value)
	}
	for i, t := range c.Reload.Check {
		key := "reload.check" + element(i)
		d.placeholders(key, t)
		for _, p := range t.Placeholders() {
			if p.Kind == "fd" || p.Kind == "worker" {
				d.errorf(c.Pos(key), "%s: placeholder %s: the check is no worker and gets no sockets", key, p)
			}
		}
	}
}

func (d *decoder) placeholders(key string, t Template) {
	c := d.cfg
	for _, p := range t.Placeholders() {
		if !p.OfListener() {
			continue
		}
		if p.Name == "" && len(c.Listeners) > 1 {
			d.errorf(c.Pos(key), "%s: placeholder %s: there are %d listeners; say {%s:%s}", key, p, len(c.Listeners), p.Kind, c.Listeners[0].Name)
			continue
		}
		for _, l := range c.Listeners {
			if (p.Name == "" || p.Name == l.Name) && isUnix(l.address()) && (p.Kind == "host" || p.Kind == "port") {
				d.errorf(c.Pos(key), "%s: placeholder %s: %q has no %s; say {addr:%s}", key, p, l.address(), p.Kind, l.Name)
			}
		}
	}
}
