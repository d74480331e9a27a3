package units

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Places are where units are looked for.
type Places struct {
	Dirs []string // of unit files, the strongest first
	Init string   // of init scripts, of which another generator makes services
}

// SystemPlaces are those of systemd.unit(5) for the system's manager, without
// the generators' own. getenv is asked for SYSTEMD_UNIT_PATH.
func SystemPlaces(getenv func(string) string) Places {
	dirs := []string{
		"/etc/systemd/system.control", "/run/systemd/system.control", "/run/systemd/transient",
		"/etc/systemd/system", "/etc/systemd/system.attached", "/run/systemd/system", "/run/systemd/system.attached",
		"/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system",
	}
	if path := getenv("SYSTEMD_UNIT_PATH"); path != "" {
		said, more := strings.CutSuffix(path, ":")
		var own []string
		for _, dir := range strings.Split(said, ":") {
			// What a generator made is of this daemon-reload, or is gone.
			if filepath.IsAbs(dir) && !strings.HasPrefix(dir, "/run/systemd/generator") {
				own = append(own, dir)
			}
		}
		if more {
			own = append(own, dirs...)
		}
		dirs = own
	}
	return Places{Dirs: dirs, Init: "/etc/init.d"}
}

// UserPlaces are those for the manager of a user.
func UserPlaces(getenv func(string) string) Places {
	config := getenv("XDG_CONFIG_HOME")
	if config == "" {
		config = filepath.Join(getenv("HOME"), ".config")
	}
	return Places{Dirs: []string{
		filepath.Join(config, "systemd/user"), "/etc/systemd/user", "/run/systemd/user",
		"/usr/local/lib/systemd/user", "/usr/lib/systemd/user",
	}}
}

// known is what Find has found out about its places, for one that is asked for
// hundreds of units: the names in each directory, read once.
type known map[string]map[string]bool

func (p Places) known() known {
	k := known{}
	for _, dir := range append([]string{p.Init}, p.Dirs...) {
		entries, _ := os.ReadDir(dir)
		names := make(map[string]bool, len(entries))
		for _, e := range entries {
			names[e.Name()] = true
		}
		k[dir] = names
	}
	return k
}

// has tells whether there may be such a file; nil knows nothing.
func (k known) has(dir, name string) bool { return k == nil || k[dir][name] }

// Find is the unit file that systemd would take for a name, or empty: the file
// itself, one that is its template, an init script. A link is a unit too, also
// one that leads nowhere.
func (p Places) Find(unit string) string { return p.find(unit, nil) }

func (p Places) find(unit string, k known) string {
	names := []string{unit}
	if prefix, _, ok := strings.Cut(unit, "@"); ok {
		names = append(names, prefix+"@"+filepath.Ext(unit))
	}
	for _, name := range names {
		for _, dir := range p.Dirs {
			if !k.has(dir, name) {
				continue
			}
			path := filepath.Join(dir, name)
			if _, err := os.Lstat(path); err == nil {
				return path
			}
		}
	}
	if stem, ok := strings.CutSuffix(unit, ".service"); ok && p.Init != "" && k.has(p.Init, stem) {
		path := filepath.Join(p.Init, stem)
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return ""
}

// Runs tells whether the unit file at path runs the pool of a configuration
// file: written by fugue, or by a person who says that file in a command.
func Runs(path, file string) bool {
	text, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	for l := range strings.Lines(string(text)) {
		l = strings.TrimSpace(l)
		if from, ok := Made(l); ok && from == file {
			return true
		}
		if command, ok := strings.CutPrefix(l, "ExecStart="); ok && strings.Contains(command, "fugue") && slices.Contains(strings.Fields(command), file) {
			return true
		}
	}
	return false
}

// Enabled tells whether something wants the instance of the shipped template
// for a pool: links in TARGET.wants, TARGET.requires and TARGET.upholds.
func (p Places) enabled() map[string]bool {
	out := map[string]bool{}
	for _, dir := range p.Dirs {
		for _, kind := range []string{"wants", "requires", "upholds"} {
			links, _ := filepath.Glob(filepath.Join(dir, "*."+kind, "fugue@*.service"))
			for _, link := range links {
				if !isLink(link) {
					continue
				}
				name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(link), "fugue@"), ".service")
				out[unescape(name)] = true
			}
		}
	}
	return out
}

func isLink(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode()&fs.ModeSymlink != 0
}

// unescape undoes systemd-escape(1) as far as a pool's name needs it.
func unescape(s string) string {
	return strings.NewReplacer(`\x2d`, "-", `\x40`, "@", `\x2e`, ".", `\x5f`, "_").Replace(s)
}
