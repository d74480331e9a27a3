package config

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// inject is the whole command as a release makes it.
func inject(c *Config, listeners ...string) string {
	at, extra := c.PresetArguments(listeners)
	var words []string
	for i, t := range c.Command {
		if i == at {
			for _, e := range extra {
				words = append(words, e.String())
			}
		}
		words = append(words, t.String())
	}
	if at == len(c.Command) {
		for _, e := range extra {
			words = append(words, e.String())
		}
	}
	return strings.Join(words, " ")
}

func TestPresetArguments(t *testing.T) {
	for _, tt := range []struct{ preset, command, want string }{
		{"gunicorn", "gunicorn app:app", "gunicorn app:app"},
		{"uvicorn", "uvicorn app:app", "uvicorn --fd {fd} app:app"},
		{"uvicorn", "uvicorn app:app --fd=4", "uvicorn app:app --fd=4"},
		{"uvicorn", "./start", "./start --fd {fd}"},
		{"uvicorn", "/venv/bin/python3.11 -X dev -m uvicorn app:app", "/venv/bin/python3.11 -X dev -m uvicorn --fd {fd} app:app"},
		{"hypercorn", "python3 /usr/bin/hypercorn app:app", "python3 /usr/bin/hypercorn --bind fd://{fd:http} --bind fd://{fd:admin} app:app"},
		{"hypercorn", "hypercorn -b0.0.0.0:80 app:app", "hypercorn -b0.0.0.0:80 app:app"},
		{"puma", "bundle exec puma -C puma.rb", "bundle exec puma --bind-to-activated-sockets only -C puma.rb"},
		{"puma", "env RACK_ENV=x -u Y bundle exec puma", "env RACK_ENV=x -u Y bundle exec puma --bind-to-activated-sockets only"},
		{"starlet", "plackup app.psgi", "plackup -s Starlet app.psgi"},
		{"starlet", "plackup -s Starlet app.psgi", "plackup -s Starlet app.psgi"},
		{"php-fpm", "/usr/sbin/php-fpm8.2 -y x", "/usr/sbin/php-fpm8.2 --nodaemonize -y x"},
		{"nginx", "nginx -c x", "nginx -g daemon off; -c x"},
		{"nginx", "nginx -g 'daemon off; worker_processes 2;'", "nginx -g 'daemon off; worker_processes 2;'"},
	} {
		c, err := parseOne(t, fmt.Sprintf("preset = %q\ncommand = [%s]", tt.preset, words(tt.command)), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got := inject(c, "http", "admin"); got != tt.want {
			t.Errorf("%s, %s\n got %s\nwant %s", tt.preset, tt.command, got, tt.want)
		}
	}
}

func words(command string) string {
	var all []string
	for _, w := range strings.Fields(command) {
		all = append(all, fmt.Sprintf("%q", w))
	}
	return strings.Join(all, ", ")
}

// What a preset sets is a default: what the user says wins.
func TestPresetDefaults(t *testing.T) {
	for _, tt := range []struct {
		text     string
		signal   syscall.Signal
		dialects []Dialect
		when     When
	}{
		{"preset = 'unicorn'", syscall.SIGQUIT, nil, WhenAuto},
		{"preset = 'gunicorn'", syscall.SIGTERM, nil, WhenListening},
		{"preset = 'gunicorn'\n[ready]\nwhen = 'notify'", syscall.SIGTERM, nil, WhenNotify},
		{"preset = 'nginx'", syscall.SIGQUIT, []Dialect{DialectNginx}, WhenAuto},
		{"preset = 'nginx'\ndialect = ['einhorn', 'systemd']\n[stop]\nsignal = 'INT'", syscall.SIGINT, []Dialect{DialectEinhorn, DialectSystemd}, WhenAuto},
		{"preset = 'uwsgi'", syscall.SIGTERM, []Dialect{}, WhenAuto},
		{"dialect = []", syscall.SIGTERM, []Dialect{}, WhenAuto},
	} {
		c, err := parseOne(t, "command = ['x']\n"+tt.text, Options{})
		if err != nil {
			t.Fatal(err)
		}
		// A successor reads it back: none and not said are not the same.
		b, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		var again Config
		if err := json.Unmarshal(b, &again); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.dialects, again.Dialects); diff != "" {
			t.Errorf("%s: %s", tt.text, diff)
		}
		if c.Stop.Signal != int(tt.signal) || c.Ready.When != tt.when {
			t.Errorf("%s: signal %d, ready %s", tt.text, c.Stop.Signal, c.Ready.When)
		}
		if want := tt.dialects == nil || slices.Contains(tt.dialects, DialectSystemd); again.Speaks(DialectSystemd) != want {
			t.Errorf("%s: speaks systemd: %v", tt.text, !want)
		}
	}
}

func TestWarnings(t *testing.T) {
	const hangs = `a worker of nginx hangs in accept on a socket that blocks whenever another one was faster: say nonblocking = true in each [listen.NAME], or preset = "nginx"`
	for _, tt := range []struct{ text, want string }{
		{"command = ['gunicorn', 'x']", ""},
		{"command = ['./server']", ""},
		{"command = ['sh', '-c', 'exec unicorn']", ""},
		{"command = ['bundle', 'exec', 'unicorn']", `1:1: warning: unicorn loses requests when it is stopped by SIGTERM: say [stop] signal = "QUIT" or preset = "unicorn"`},
		{"command = ['x']\npreset = 'unicorn'", ""},
		{"command = ['x']\npreset = 'unicorn'\n[stop]\nsignal = 'TERM'", `4:1: warning: unicorn loses requests when it is stopped by SIGTERM: say [stop] signal = "QUIT"`},
		{"command = ['python3', '-m', 'gunicorn', 'x']\n[stop]\nsignal = 'QUIT'", `3:1: warning: gunicorn loses requests when it is stopped by SIGQUIT: say [stop] signal = "TERM" or preset = "gunicorn"`},
		{"command = ['/usr/bin/python3.11', '-m', 'gunicorn.app.wsgiapp', 'x']\n[stop]\nsignal = 'RTMIN+1'", `3:1: warning: gunicorn loses requests when it is stopped by signal 35: say [stop] signal = "TERM" or preset = "gunicorn"`},
		{"command = ['php-fpm8.2']", `1:1: warning: php-fpm loses requests when it is stopped by SIGTERM: say [stop] signal = "QUIT" or preset = "php-fpm"`},
		{"command = ['plackup', '-s', 'Starman']", `1:1: warning: starman loses requests when it is stopped by SIGTERM: say [stop] signal = "QUIT" or preset = "starman"`},
		{"command = ['plackup', '-s', 'Starlet']", ""},
		{"command = ['haproxy']", `1:1: warning: haproxy loses requests when it is stopped by SIGTERM: say [stop] signal = "USR1"`},
		{"command = ['uwsgi-core']", `1:1: warning: uwsgi cuts requests off at every stop signal that it knows by itself; preset = "uwsgi" gives it one that does not`},
		{"command = ['uwsgi-core']\npreset = 'uwsgi'", ""},
		{"command = ['perl', '-e', 'unicorn']", ""},
		{"command = ['x']\nwhen_empty = 'refuse'\n[listen.a]\nstream = '/run/a'\n[listen.b]\nstream = '80'\n[listen.d]\ndatagram = '/run/d'",
			"4:1: warning: with no worker left connections to a wait, whatever when_empty says: a unix socket that was shut down never listens again"},
		{"command = ['x']\nwhen_empty = 'refuse'\n[listen.a]\nstream = '80'\n[listen.b]\nstream = '/run/b'\n[listen.d]\ndatagram = '81'\n[install]\nsockets = true",
			"4:1: warning: with no worker left connections to a wait, whatever when_empty says: install.sockets gives it a .socket unit, and such a unit fails if its socket is shut down when the master dies\n" +
				"6:1: warning: with no worker left connections to b wait, whatever when_empty says: a unix socket that was shut down never listens again"},
		{"command = ['x']\n[listen.a]\nstream = '80'\n[install]\nsockets = true", ""},
		{"command = ['x']\n[listen.a]\nstream = '/run/a'", ""},
		{"command = ['nginx']\nstop.signal = 'QUIT'", "1:1: warning: " + hangs},
		{"command = ['nginx']\nstop.signal = 'QUIT'\n[listen.a]\nstream = '80'\nnonblocking = true\n[listen.b]\nstream = '81'", "6:9: warning: " + hangs},
		{"command = ['nginx']\nstop.signal = 'QUIT'\n[listen.a]\nstream = '80'\nnonblocking = true", ""},
		{"command = ['nginx']\npreset = 'nginx'\n[listen.a]\nstream = '80'", ""},
		{"command = ['nginx']\npreset = 'nginx'", ""},
		{"command = ['x']\npreset = 'nginx'\n[listen.a]\nstream = '80'\nnonblocking = false", "3:9: warning: " + hangs},
	} {
		c, err := parseOne(t, tt.text, Options{})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, w := range c.Warnings() {
			got = append(got, strings.TrimPrefix(w.String(), c.Path+":"))
		}
		if strings.Join(got, "\n") != tt.want {
			t.Errorf("%s\n got %q\nwant %q", tt.text, got, tt.want)
		}
	}
}
