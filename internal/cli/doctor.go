package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"fugue/internal/config"
	"fugue/internal/control"
	"fugue/internal/doctor"
	"fugue/internal/systemd"
)

// examined is a pool in the answer of doctor.
type examined struct {
	Pool     string           `json:"pool"`
	Unit     string           `json:"unit"`
	OK       bool             `json:"ok"`
	Findings []doctor.Finding `json:"findings"`
}

func (a *app) doctorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor [NAME]",
		Short: "Look whether systemd runs a pool as it should",
		Long: `Compare the installed unit of a pool, and what runs, with its file and with what a
pool needs of systemd. For each thing that is wrong it says what, why it matters,
and what mends it. Without a NAME all files in /etc/fugue are looked at. Nothing
is changed. Exit 0: nothing is wrong; 1: something is.`,
		Args:              arguments(cobra.MaximumNArgs(1)),
		ValidArgsFunction: a.completePools,
	}
	output := outputFlag(cmd)
	cmd.RunE = action(func(ctx context.Context, _ *cobra.Command, args []string) error {
		names := args
		if len(names) == 0 {
			for _, e := range a.finder.Pools() {
				names = append(names, e.Name)
			}
		}
		if len(names) == 0 {
			return control.Errorf(control.ExitNoPool, "there is no pool to look at: no file in /etc/fugue, and none runs")
		}
		all := make([]examined, 0, len(names))
		for _, name := range names {
			one, err := a.examine(ctx, name)
			if err != nil {
				return err
			}
			all = append(all, one)
		}
		return a.examinedText(all, output.json())
	})
	return cmd
}

func (a *app) examinedText(all []examined, json bool) error {
	ill := slices.ContainsFunc(all, func(e examined) bool { return !e.OK })
	if json {
		if err := a.printJSON(all); err != nil {
			return err
		}
	} else {
		for _, e := range all {
			if e.OK {
				fmt.Fprintf(a.out, "%s: nothing is wrong (%s)\n", printable(e.Pool), printable(e.Unit))
			}
			for _, f := range e.Findings {
				fmt.Fprintf(a.out, "%s: %s\n  why: %s\n  fix: %s\n", printable(e.Pool), printable(f.What), printable(f.Why), printable(f.Fix))
			}
		}
	}
	if ill {
		return &fault{exit: control.ExitFailed}
	}
	return nil
}

// examine finds out about a pool what doctor has to know.
func (a *app) examine(ctx context.Context, name string) (examined, error) {
	if err := control.CheckName(name); err != nil {
		return examined{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	s := doctor.Seen{Pool: name, File: filepath.Join("/etc/fugue", name+".toml")}
	var status control.Status
	if c, err := a.finder.Dial(name); err == nil {
		if status, err = c.Status(ctx); err == nil && status.Config != "" {
			s.File = status.Config
		}
	}
	if _, err := os.Stat(s.File); errors.Is(err, fs.ErrNotExist) && status.Pool == "" {
		return examined{}, control.Errorf(control.ExitNoPool, "no pool %s: it does not run, and there is no %s", name, s.File)
	}
	s.Config, s.Broken = config.Load(s.File, config.Options{WorkDir: "/"})
	if err := a.unitOf(ctx, &s, status.Unit); err != nil {
		return examined{}, err
	}
	if status.Pool != "" {
		look(&s, status)
	}
	found := doctor.Examine(s)
	return examined{Pool: name, Unit: s.Unit, OK: len(found) == 0, Findings: append([]doctor.Finding{}, found...)}, nil
}

// unitOf finds the unit that runs the pool, or would: the master's own, else the
// one of its name, else the template's.
func (a *app) unitOf(ctx context.Context, s *doctor.Seen, own string) error {
	candidates := []string{own, s.Pool + ".service", "fugue@" + s.Pool + ".service"}
	for _, unit := range candidates {
		if unit == "" {
			continue
		}
		p, err := systemd.Properties(ctx, unit)
		if err != nil {
			return unasked(err, os.Geteuid())
		}
		if s.Unit == "" || p["LoadState"] == "loaded" {
			s.Unit, s.Service = unit, p
		}
		if p["LoadState"] == "loaded" {
			break
		}
	}
	triggers, _ := s.Service["TriggeredBy"].([]string)
	for _, unit := range triggers {
		if !strings.HasSuffix(unit, ".socket") {
			continue
		}
		p, err := systemd.Properties(ctx, unit)
		if err != nil {
			return err
		}
		s.Sockets = append(s.Sockets, doctor.Socket{Unit: unit, Props: p, Missing: unlinked(p)})
	}
	if pid, _ := s.Service["MainPID"].(uint32); pid > 0 {
		s.Exec, _ = os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		s.Exec = strings.TrimSuffix(s.Exec, " (deleted)")
	}
	return nil
}

// unasked says what helps where systemd does not answer: root's rights, or a
// systemd to ask.
func unasked(err error, euid int) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w; doctor is for pools that systemd runs, and no systemd runs here", err)
	case euid != 0:
		return fmt.Errorf("%w; as root it can be asked", err)
	}
	return err
}

// unlinked are the paths that a socket unit listens on and that are no sockets.
func unlinked(p map[string]any) []string {
	var gone []string
	listen, _ := p["Listen"].([][]any)
	for _, l := range listen {
		if len(l) < 2 || p["ActiveState"] != "active" {
			continue
		}
		kind, _ := l[0].(string)
		path, _ := l[1].(string)
		if !strings.HasPrefix(path, "/") || kind != "Stream" && kind != "Datagram" {
			continue
		}
		if info, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) || err == nil && info.Mode()&fs.ModeSocket == 0 {
			gone = append(gone, path)
		}
	}
	return gone
}

// settled is how long a worker has to become ready before it is looked into.
const settled = 5 * time.Second

// look looks at the workers of a pool that runs.
func look(s *doctor.Seen, status control.Status) {
	for _, w := range status.Workers {
		if w.State == "starting" && time.Since(w.Since) > settled {
			s.Workers = append(s.Workers, doctor.Worker{PID: w.PID, Child: misled(w.PID)})
		}
	}
	for _, l := range status.Listeners {
		for _, w := range status.Workers {
			if flag, ok := nonBlocking(status.PID, w.PID, l.FD); ok {
				s.Flags = append(s.Flags, doctor.Flag{Listener: l.Name, NonBlocking: flag})
				break
			}
		}
	}
}

// misled is a child of a worker that has the worker's LISTEN_PID, or 0.
func misled(worker int) int {
	list, _ := os.ReadFile(fmt.Sprintf("/proc/%[1]d/task/%[1]d/children", worker))
	for _, child := range strings.Fields(string(list)) {
		env, _ := os.ReadFile("/proc/" + child + "/environ")
		if slices.Contains(strings.Split(string(env), "\x00"), "LISTEN_PID="+strconv.Itoa(worker)) {
			pid, _ := strconv.Atoi(child)
			return pid
		}
	}
	return 0
}

// nonBlocking reads the flag of a socket in a worker, if it is still the one
// that the master has.
func nonBlocking(master, worker, fd int) (flag, ok bool) {
	socket, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", worker, fd))
	if err != nil || !strings.HasPrefix(socket, "socket:") {
		return false, false
	}
	held, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", master))
	if !slices.ContainsFunc(held, func(path string) bool {
		other, err := os.Readlink(path)
		return err == nil && other == socket
	}) {
		return false, false
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", worker, fd))
	if err != nil {
		return false, false
	}
	for line := range strings.Lines(string(text)) {
		if value, found := strings.CutPrefix(line, "flags:"); found {
			n, err := strconv.ParseUint(strings.TrimSpace(value), 8, 64)
			return n&syscall.O_NONBLOCK != 0, err == nil
		}
	}
	return false, false
}
