package config

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func flags(pairs ...string) (all []Override) {
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, Override{Key: pairs[i], Value: pairs[i+1]})
	}
	return all
}

func TestFlagsWin(t *testing.T) {
	const text = "command = ['a', 'b']\nworkers = 2\nenvironment = { A = '1', B = '2' }\nsupplementary_groups = ['x']\n" +
		"[listen.http]\ndatagram = '1'\n[listen.admin]\nstream = '2'\nbacklog = 5\n[reload]\nmax_surge = 1\nmax_unavailable = 2\n"
	c, err := parseOne(t, text, Options{
		Overrides: flags("command", "c", "command", "{{", "workers", "auto", "workers", "4", "environment", "B=x=y", "environment", "C=",
			"supplementary_groups", "y", "supplementary_groups", "z", "reload.max_surge", "50%", "stop.timeout", "1.5",
			"listen.admin.backlog", "6", "listen.http.reuse_port", "true", "limits.no_new_privs", "true", "user", "1000", "directory", "app"),
		Listen: []string{"http=127.0.0.1:0", "v.1=/run/a=b"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(templates("c", "{{"), c.Command, sameTemplates); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Variable{{"A", Template{text: "1"}}, {"B", Template{text: "x=y"}}, {"C", Template{}}}, c.Environment, sameTemplates); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"y", "z"}, c.SupplementaryGroups); diff != "" {
		t.Error(diff)
	}
	want := []Listener{
		{Name: "http", Stream: "127.0.0.1:0", ReusePort: ptr(true)},
		{Name: "admin", Stream: "2", Backlog: 6},
		{Name: "v.1", Stream: "/run/a=b", RemoveOnStop: true},
	}
	if diff := cmp.Diff(want, c.Listeners); diff != "" {
		t.Error(diff)
	}
	if c.Workers != 4 || c.Reload.MaxSurge != (Amount{50, true}) || c.Stop.Timeout.Seconds() != 1.5 ||
		!c.Limits.NoNewPrivs || c.User != "1000" || c.Directory != "/srv/dir/app" {
		t.Errorf("%+v", c)
	}
	if got := c.Pos("workers").String(); got != "--workers" {
		t.Error(got)
	}
}

func TestFlagsOnly(t *testing.T) {
	for _, tt := range []struct {
		name   string
		listen []string
		flags  []Override
		want   []Listener
		err    string
	}{
		{name: "none"},
		{name: "nameless", listen: []string{"8080"}, want: []Listener{{Name: "http", Stream: "8080"}}},
		{name: "nameless path", listen: []string{"/run/a=b"}, want: []Listener{{Name: "http", Stream: "/run/a=b", RemoveOnStop: true}}},
		{name: "two", listen: []string{"b=1", "a=2"}, want: []Listener{{Name: "b", Stream: "1"}, {Name: "a", Stream: "2"}}},
		{name: "two nameless", listen: []string{"1", "2"}, err: `--listen: error: "1" and "2": two listeners need names: NAME=ADDRESS`},
		{name: "one nameless", listen: []string{"1", "a=2"}, err: `--listen: error: "1" needs a name, NAME=1: there are other listeners (a)`},
		{name: "twice", listen: []string{"a=1", "a=2"}, err: `--listen: error: "a=2": there is another listener named a`},
		{name: "no name", listen: []string{"=1"}, err: `--listen: error: listen.http.stream: "=1" is not an address: PORT, IPV4:PORT, [IPV6]:PORT, /path or @name; names of hosts are not looked up`},
		{name: "bad name", listen: []string{"a:b=1"}, err: `--listen: error: "a:b" cannot name a listener: ` + nameRule},
		{name: "bad address", listen: []string{"a=:1"}, err: `--listen: error: listen.a.stream: ":1": for all addresses say "1"`},
		{name: "unknown", flags: flags("wokers", "1"), err: `--wokers: error: unknown key "wokers"; did you mean workers?`},
		{name: "unknown in a table", flags: flags("reload.canry", "1"), err: `--reload.canry: error: unknown key "canry" in [reload]; did you mean canary?`},
		{name: "too deep", flags: flags("workers.x", "1"), err: `--workers.x: error: unknown key "x" in [workers]`},
		{name: "table", flags: flags("reload", "1"), err: `--reload: error: reload is a table and not a key`},
		{name: "value", flags: []Override{{"workers", "x", "-n"}}, err: `-n: error: workers must be a whole number or "auto", not "x"`},
		{name: "boolean", flags: flags("limits.no_new_privs", "x"), err: `--limits.no_new_privs: error: limits.no_new_privs must be true or false, not "x"`},
		{name: "pair", flags: flags("environment", "x"), err: `--environment: error: "x" is not of the form NAME=VALUE`},
		{name: "combination", flags: flags("reload.max_surge", "0"), err: `--reload.max_surge: error: reload.max_surge and reload.max_unavailable are both 0: no worker could ever be replaced`},
		{name: "placeholder", flags: flags("environment", "A={x}"), err: `--environment: error: environment.A: unknown placeholder "{x}"; known are {fd} {addr} {host} {port} {worker} {generation}, and a literal brace is written "{{" or "}}"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Load("", Options{WorkDir: "/", Listen: tt.listen,
				Overrides: append(tt.flags, Override{Key: "command", Value: "./x"})})
			if tt.err != "" {
				if err == nil {
					t.Fatal("no error")
				}
				if diff := cmp.Diff(tt.err, err.Error()); diff != "" {
					t.Error(diff)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, c.Listeners); diff != "" {
				t.Error(diff)
			}
			if c.Name != "x" || c.Path != "" || c.Pos("user").String() != "command line" {
				t.Errorf("%+v", c)
			}
		})
	}
	_, err := Load("", Options{WorkDir: "/"})
	if want := `command line: error: no command: say what the workers run, command = ["./server"] in the file or as the last arguments`; err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}
