package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"fugue/internal/config"
	"fugue/internal/control"
	"fugue/units"
)

// dir is where --install puts units: where a person's own belong.
func (o unitsOptions) dir() string {
	const system = "/etc/systemd/system"
	if !o.user && slices.Contains(o.places.Dirs, system) || len(o.places.Dirs) == 0 {
		return system
	}
	return o.places.Dirs[0]
}

func (o unitsOptions) systemctl() string {
	if o.user {
		return "systemctl --user"
	}
	return "systemctl"
}

// installed are the units in --install's directory that fugue wrote for the
// file, by name.
func (o unitsOptions) installed(path string) (map[string]string, error) {
	entries, err := os.ReadDir(o.dir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("look for installed units: %w", err)
	}
	found := map[string]string{}
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); !e.Type().IsRegular() || ext != ".service" && ext != ".socket" {
			continue
		}
		text, err := os.ReadFile(filepath.Join(o.dir(), e.Name()))
		if from, ok := units.Made(string(text)); err == nil && ok && from == path {
			found[e.Name()] = string(text)
		}
	}
	return found, nil
}

// installUnits writes the units, and removes what an earlier installation wrote
// for the file and this one does not.
func (a *app) installUnits(path string, all []units.Unit, o unitsOptions) error {
	old, err := o.installed(path)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.dir(), 0o755); err != nil {
		return fmt.Errorf("install units: %w", err)
	}
	for _, u := range all {
		to := filepath.Join(o.dir(), u.Name)
		if _, ours := old[u.Name]; !ours {
			if _, err := os.Lstat(to); err == nil {
				return config.Errors{&config.Error{Path: path, Line: 1, Col: 1, Msg: to + " is there already and fugue did not write it: remove it first"}}
			}
		}
		delete(old, u.Name)
		if err := replaceFile(to, u.Text); err != nil {
			return fmt.Errorf("install units: %w", err)
		}
		fmt.Fprintf(a.out, "wrote %s\n", to)
	}
	if err := a.removeFiles(old, o); err != nil {
		return err
	}
	enable := ""
	for _, u := range all {
		if len(u.WantedBy) > 0 {
			enable += " " + u.Name
		}
	}
	next := fmt.Sprintf("now run: %[1]s daemon-reload && %[1]s start %s\n", o.systemctl(), all[0].Name)
	if enable != "" {
		next = fmt.Sprintf("now run: %[1]s daemon-reload && %[1]s enable --now%s\n", o.systemctl(), enable)
	}
	_, err = fmt.Fprint(a.out, next)
	return err
}

// replaceFile writes a file whole or not at all: systemd may read it any time.
func replaceFile(path, text string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".fugue-*")
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

func (a *app) removeFiles(found map[string]string, o unitsOptions) error {
	for _, name := range slices.Sorted(maps.Keys(found)) {
		path := filepath.Join(o.dir(), name)
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("remove units: %w", err)
		}
		fmt.Fprintf(a.out, "removed %s\n", path)
	}
	return nil
}

// removeUnits takes back what --install did, also where the file is gone.
func (a *app) removeUnits(path string, o unitsOptions) error {
	found, err := o.installed(path)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return control.Errorf(control.ExitFailed, "in %s there is no unit that fugue wrote from %s", o.dir(), path)
	}
	if err := a.removeFiles(found, o); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "now run: %s daemon-reload; what runs goes on until it is stopped\n", o.systemctl())
	return err
}

// diffUnits prints what --install would change. Units are read where systemd
// finds them, so that those of the generator and of persons are compared too.
func (a *app) diffUnits(path string, all []units.Unit, o unitsOptions) error {
	old, err := o.installed(path)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	for _, u := range all {
		from, text := "/dev/null", ""
		for _, dir := range append(slices.Clone(o.places.Dirs), "/run/systemd/generator") {
			at := filepath.Join(dir, u.Name)
			if have, err := os.ReadFile(at); err == nil {
				from, text = at, string(have)
				break
			}
		}
		delete(old, u.Name)
		diff(&out, from, u.Name, text, u.Text)
	}
	for _, name := range slices.Sorted(maps.Keys(old)) {
		diff(&out, filepath.Join(o.dir(), name), "/dev/null", old[name], "")
	}
	if out.Len() == 0 {
		return nil
	}
	for line := range strings.Lines(out.String()) {
		if _, err := fmt.Fprintln(a.out, printable(strings.TrimSuffix(line, "\n"))); err != nil {
			return err
		}
	}
	return &fault{exit: control.ExitFailed}
}

// diff prints the lines that went and those that came. Units are short: there are
// no lines around them.
func diff(out *bytes.Buffer, from, to, a, b string) {
	if a == b {
		return
	}
	fmt.Fprintf(out, "--- %s\n+++ %s\n", from, to)
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	// common[i][j] is how many lines x[i:] and y[j:] can have in common.
	common := make([][]int, len(x)+1)
	for i := range common {
		common[i] = make([]int, len(y)+1)
	}
	for i := len(x) - 1; i >= 0; i-- {
		for j := len(y) - 1; j >= 0; j-- {
			if x[i] == y[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	for i, j := 0, 0; i < len(x) || j < len(y); {
		switch {
		case i < len(x) && j < len(y) && x[i] == y[j]:
			i, j = i+1, j+1
		case j == len(y) || i < len(x) && common[i+1][j] >= common[i][j+1]:
			fmt.Fprintf(out, "-%s\n", x[i])
			i++
		default:
			fmt.Fprintf(out, "+%s\n", y[j])
			j++
		}
	}
}
