package release

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var several = []Socket{
	{"http", "tcp", "127.0.0.1:8080"},
	{"dns", "udp", "127.0.0.1:53"},
	{"six", "tcp", "[::1]:80"},
	{"admin", "unix", "/run/x.sock"},
}

func TestDialects(t *testing.T) {
	dir := tree(t, map[string]string{"x": script})
	listen := []string{"LISTEN_FDS=4", "LISTEN_FDNAMES=http:dns:six:admin"}
	for _, tt := range []struct {
		text string
		want []string
	}{
		{"", listen},
		{"dialect = []", nil},
		{"dialect = ['einhorn']", []string{
			"EINHORN_FD_COUNT=3", "EINHORN_FDS=3 5 6", "EINHORN_FD_0=3", "EINHORN_FD_FAMILY_0=AF_INET",
			"EINHORN_FD_1=5", "EINHORN_FD_FAMILY_1=AF_INET6", "EINHORN_FD_2=6", "EINHORN_FD_FAMILY_2=AF_UNIX",
		}},
		{"dialect = ['server-starter']", []string{"SERVER_STARTER_PORT=127.0.0.1:8080=3;[::1]:80=5;/run/x.sock=6", "SERVER_STARTER_GENERATION=7"}},
		{"dialect = ['nginx', 'unicorn']", []string{"NGINX=3;5;6;", "UNICORN_FD=3,5,6"}},
		{"dialect = ['php-fpm']", []string{"FPM_SOCKETS=127.0.0.1:8080=3,[::1]:80=5,/run/x.sock=6"}},
		{"dialect = ['puma', 'systemd']", append([]string{
			"PUMA_INHERIT_0=3:tcp://127.0.0.1:8080", "PUMA_INHERIT_1=5:tcp://[::1]:80", "PUMA_INHERIT_2=6:unix:///run/x.sock",
		}, listen...)},
		{"dialect = ['nginx']\nenvironment = { NGINX = '{fd:six};' }", []string{"NGINX=5;"}},
	} {
		// What the master was told of its own sockets is not for a worker.
		r := mustMake(t, parse(t, dir, "command = ['DIR/x']\n"+tt.text+"\n[reload]\ncheck = ['DIR/x']"), several,
			"NGINX=9;", "UNICORN_FD=9", "EINHORN_FD_0=9", "EINHORN_MASTER_PID=1", "SERVER_STARTER_PORT=80=9", "FPM_SOCKETS_1=x=9", "PUMA_INHERIT_0=9:tcp://x", "GUNICORN_FD=9")
		_, env := r.Command(Vars{Worker: 1, Generation: 7})
		var got []string
		for _, e := range env {
			if !strings.HasPrefix(e, "FUGUE_") {
				got = append(got, e)
			}
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: %s", tt.text, diff)
		}
		if want := strings.Contains(strings.Join(tt.want, " "), "LISTEN_FDS"); r.ListenEnv() != want {
			t.Errorf("%s: LISTEN_PID %v", tt.text, !want)
		}
		if _, env := r.Check(1); strings.Contains(strings.Join(env, " "), "_FD_0") {
			t.Errorf("the check gets no sockets: %q", env)
		}
	}
}

// The arguments of a preset stand in the command with the numbers of its sockets.
func TestPresetCommand(t *testing.T) {
	dir := tree(t, map[string]string{"uvicorn": script, "hypercorn": script})
	for _, tt := range []struct {
		text    string
		sockets []Socket
		want    string
		err     string
	}{
		{"preset = 'uvicorn'\ncommand = ['DIR/uvicorn', 'app:{worker}']", several[:1], "DIR/uvicorn --fd 3 app:2", ""},
		{"preset = 'hypercorn'\ncommand = ['DIR/hypercorn', 'app']", several, "DIR/hypercorn --bind fd://3 --bind fd://5 --bind fd://6 app", ""},
		{"preset = 'hypercorn'\ncommand = ['DIR/hypercorn', 'app']", nil, "DIR/hypercorn app", ""},
		{"command = ['DIR/uvicorn', '--fd', '{fd:six}']\npreset = 'uvicorn'", several, "DIR/uvicorn --fd 5", ""},
		{"command = ['DIR/uvicorn']\npreset = 'uvicorn'", two, "", "/etc/fugue/web.toml:2:1: error: preset: placeholder {fd}: there are 2 listeners (http, admin); say {fd:admin}"},
	} {
		r, err := Make(parse(t, dir, tt.text), tt.sockets, nil)
		if err != nil || tt.err != "" {
			if err == nil || err.Error() != tt.err {
				t.Errorf("%s: %v", tt.text, err)
			}
			continue
		}
		argv, _ := r.Command(Vars{Worker: 2, Generation: 1})
		if got, want := strings.Join(argv, " "), strings.ReplaceAll(tt.want, "DIR", dir); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
