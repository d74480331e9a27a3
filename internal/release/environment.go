package release

import (
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"

	"fugue/internal/config"
)

// environment starts from the master's, without what was said to the master
// alone, then that of the user, the files and the table, each over the last.
func (m *maker) environment(environ []string, who *account) {
	for _, e := range environ {
		name, value, ok := strings.Cut(e, "=")
		if ok && name != "" && !config.ReservedVariable(name) && !config.SpokenVariable(name) {
			m.setenv(name, config.Literal(value))
		}
	}
	if who != nil {
		who.each(func(name, value string) {
			if value == "" { // nobody knows the user's; the master's is not it
				m.rel.Env = slices.DeleteFunc(m.rel.Env, func(v config.Variable) bool { return v.Name == name })
				return
			}
			m.setenv(name, config.Literal(value))
		})
	}
	for i, f := range m.cfg.EnvironmentFiles {
		text, err := readRegular(f.Path)
		if err != nil {
			if !f.Optional || !errors.Is(err, os.ErrNotExist) {
				m.errorf(index("environment_files", i), "environment file %q: %w", f.Path, plain(f.Path, err))
			}
			continue
		}
		entries, errs := parseEnv(f.Path, text)
		m.errs = append(m.errs, errs...)
		for _, e := range entries {
			m.setenv(e.name, config.Literal(e.value))
		}
	}
	for _, v := range m.cfg.Environment {
		m.setenv(v.Name, m.expand("environment."+v.Name, v.Value))
	}
}

func (m *maker) setenv(name string, value config.Template) {
	for i, v := range m.rel.Env {
		if v.Name == name {
			m.rel.Env[i].Value = value
			return
		}
	}
	m.rel.Env = append(m.rel.Env, config.Variable{Name: name, Value: value})
}

func readRegular(path string) ([]byte, error) {
	// O_NONBLOCK: a FIFO in place of the file must not hang a reload.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	if info.Size() > maxEnvFile {
		return nil, errors.New("larger than 1 MiB")
	}
	return io.ReadAll(io.LimitReader(f, maxEnvFile))
}
