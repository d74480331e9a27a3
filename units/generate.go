package units

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"fugue/internal/config"
)

// Generator makes units of all configuration files in a directory: a
// systemd.generator(7). Whatever is in the files, it ends soon and well: an
// error is a unit that says it, or a line of the log, and never concerns the
// other files or the boot.
type Generator struct {
	Etc     string // where the files are
	Out     string // where the units go; the files there are ours or another generator's
	Places  Places // where other units are
	Options Options
	Log     func(string) // a line for the journal

	enabled map[string]bool
	known   known // what is in Places
}

// Run makes the units.
func (g *Generator) Run() {
	entries, err := os.ReadDir(g.Etc)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			g.Log(fmt.Sprintf("read %s: %v", g.Etc, err))
		}
		return
	}
	g.enabled, g.known = g.Places.enabled(), g.Places.known()
	for _, e := range entries {
		// The rule for drop-ins: editors leave .web.toml.swp and web.toml~.
		if !strings.HasSuffix(e.Name(), ".toml") || strings.HasPrefix(e.Name(), ".") || e.IsDir() {
			continue
		}
		if err := g.safely(filepath.Join(g.Etc, e.Name())); err != nil {
			g.Log(oneLine(err.Error()))
		}
	}
}

// safely keeps a fault of one file from the others.
func (g *Generator) safely(path string) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("make units of %s: %v", path, p)
		}
	}()
	return g.file(path)
}

func (g *Generator) file(path string) error {
	name := strings.TrimSuffix(filepath.Base(path), ".toml")
	if g.enabled[name] {
		return nil // fugue@NAME runs it
	}
	cfg, why := config.Salvage(path, config.Options{WorkDir: "/"})
	if err := Name(name); err != nil {
		return g.refuse(cfg, path, err)
	}
	o := g.Options
	o.Why = why
	all, err := Make(cfg, o)
	if err != nil {
		return g.refuse(cfg, path, err)
	}
	for _, u := range all {
		if other := g.Places.find(u.Name, g.known); other != "" {
			if u.Name == all[0].Name && Runs(other, path) {
				return nil // a person wrote the unit that runs it
			}
			return g.refuse(cfg, path, Taken(u.Name, other))
		}
		if other := filepath.Join(g.Out, u.Name); exists(other) {
			return g.refuse(cfg, path, Taken(u.Name, "another generator, or another file here"))
		}
	}
	for i, u := range all {
		if err := g.write(u); err != nil {
			for _, written := range all[:i] {
				_ = os.Remove(filepath.Join(g.Out, written.Name))
			}
			if errors.Is(err, fs.ErrExist) {
				return g.refuse(cfg, path, Taken(u.Name, "another generator"))
			}
			return fmt.Errorf("make units of %s: %w", path, err)
		}
	}
	var errs []error
	for _, u := range all {
		errs = append(errs, g.link(u))
	}
	return errors.Join(errs...)
}

// Taken is the error of a pool whose unit is somebody else's.
func Taken(unit, by string) error {
	return fmt.Errorf("%s is the name of another unit (%s), which fugue does not replace: rename the file", unit, by)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// refuse makes a unit beside the one whose name is taken. It fails at boot, if
// the pool was to be started there, so that `systemctl --failed` shows it.
func (g *Generator) refuse(cfg *config.Config, path string, why error) error {
	var errs config.Errors
	if !errors.As(why, &errs) {
		why = config.Errors{&config.Error{Path: path, Line: 1, Col: 1, Msg: why.Error()}}
	}
	stem := strings.TrimSuffix(filepath.Base(path), ".toml")
	o := g.Options
	o.Why = why
	unit, s := section{name: "Unit"}, section{name: "Service"}
	unit.say("Description", description(cfg, "", o))
	unit.say("Documentation", "man:fugue(1)")
	s.say("Type", "oneshot")
	s.say("ExecStart", word(o.program(), true)+" units --because "+word(oneLine(why.Error()), true)+" "+word(path, true))
	u := Unit{Name: "fugue-" + escape(stem) + "-error.service", WantedBy: wantedBy(cfg, false, o)}
	if oneLine(path) == path {
		unit.say("SourcePath", literal(path))
		u.Text = text([]string{marker + path}, unit, s)
	}
	// The journal has it whatever becomes of the unit.
	g.Log(oneLine(why.Error()))
	if u.Text == "" || len(u.Name) > 255 || g.Places.find(u.Name, g.known) != "" {
		return nil
	}
	if err := g.write(u); err != nil {
		return err
	}
	return g.link(u)
}

// escape is that of systemd-escape(1).
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("_.-", c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, `\x%02x`, c)
		}
	}
	return b.String()
}

// write makes a unit file, and never touches one that is there.
func (g *Generator) write(u Unit) error {
	f, err := os.OpenFile(filepath.Join(g.Out, u.Name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(u.Text)
	return errors.Join(err, f.Close())
}

// link does what `systemctl enable` cannot do for a generated unit.
func (g *Generator) link(u Unit) error {
	var errs []error
	for _, by := range slices.Compact(slices.Sorted(slices.Values(u.WantedBy))) {
		dir := filepath.Join(g.Out, by+".wants")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			errs = append(errs, err)
			continue
		}
		if err := os.Symlink("../"+u.Name, filepath.Join(dir, u.Name)); err != nil && !errors.Is(err, fs.ErrExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
