package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
)

var (
	namePattern     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}$`)
	variablePattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

const nameRule = "a name is letters, digits and _.@- after a letter or digit, at most 64"

// ValidName tells whether s can name a pool: it becomes a directory, a part of
// units and of socket names.
func ValidName(s string) bool { return validName(s) }

func validName(s string) bool { return namePattern.MatchString(s) }

// ValidVariable tells whether s can name an environment variable.
func ValidVariable(s string) bool { return variablePattern.MatchString(s) }

// ReservedVariable tells whether a variable is part of the protocol between
// master and worker, so that nobody else may say it: a worker that got a false
// LISTEN_FDS or NOTIFY_SOCKET would never become ready, or speak for another.
func ReservedVariable(s string) bool {
	switch s {
	case "NOTIFY_SOCKET", "FDSTORE", "JOURNAL_STREAM", "FUGUE_POOL", "FUGUE_WORKER", "FUGUE_GENERATION", "FUGUE_LAUNCH", "FUGUE_DAEMON":
		return true
	}
	// By prefix, for what systemd adds: LISTEN_PIDFDID and MAINPIDFDID are new.
	for _, prefix := range []string{"LISTEN_FD", "LISTEN_PID", "WATCHDOG_", "MAINPID"} {
		if strings.HasPrefix(s, prefix) {
			return true
		}
	}
	return false
}

// SpokenVariable tells whether a variable belongs to one of the dialects, and so
// spoke of the master's own sockets if the master has it: a worker would take
// them for its own. gunicorn's are among them, though fugue does not speak so.
func SpokenVariable(s string) bool {
	switch s {
	case "NGINX", "UNICORN_FD", "GUNICORN_FD", "GUNICORN_PID":
		return true
	}
	for _, prefix := range []string{"EINHORN_", "SERVER_STARTER_", "FPM_SOCKETS", "PUMA_INHERIT_"} {
		if strings.HasPrefix(s, prefix) {
			return true
		}
	}
	return false
}

// Name is what Load would call the pool, even where the file is broken: a
// master that takes over from another has to find its things without it.
func Name(path string, o Options) (string, error) {
	var command []Template
	for _, v := range o.Overrides {
		if v.Key == "command" {
			t, err := ParseTemplate(v.Value)
			if err != nil {
				return "", err
			}
			command = append(command, t)
		}
	}
	name, err := poolName(o.Name, path, command)
	if err != nil {
		return "", err
	}
	if name == "" {
		return "", errors.New("nothing names the pool: give --name")
	}
	return name, nil
}

// poolName is the flag, else the file's stem, else the command's base name.
func poolName(flag string, path string, command []Template) (string, *Error) {
	if flag != "" {
		if !validName(flag) {
			return "", &Error{Path: "--name", Msg: fmt.Sprintf("%q cannot name a pool: %s", flag, nameRule)}
		}
		return flag, nil
	}
	if path != "" {
		base := filepath.Base(path)
		stem := strings.TrimSuffix(base, filepath.Ext(base))
		if !validName(stem) {
			return "", &Error{Path: path, Line: 1, Col: 1, Msg: fmt.Sprintf("%q cannot name a pool: %s; rename the file or give --name", stem, nameRule)}
		}
		return stem, nil
	}
	if len(command) == 0 {
		return "", nil // an error of its own
	}
	base := filepath.Base(command[0].literal())
	if !validName(base) {
		return "", &Error{Path: commandLine, Msg: fmt.Sprintf("%q cannot name a pool: %s; give --name", base, nameRule)}
	}
	return base, nil
}
