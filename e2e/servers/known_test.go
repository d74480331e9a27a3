package servers_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"fugue/e2e"
)

// server is one that is met in the wild, with an app in testdata.
type server struct {
	name    string
	command []string
	// preset, and what else the file says: the top, [stop].
	preset, top, stop string
	// takes is how the socket reaches it, for the table.
	takes string
	// rate is of connections a second: half of the usual for interpreters that
	// have two cores for all, and where one at a time is answered.
	rate int
	kept int // keep-alive clients beside, for one that ends such connections politely
	// deferred: the kernel gives it a connection only when a request has come on
	// it. At its stop this server closes a connection on which none has, which is
	// the client's loss if the request was on its way.
	deferred bool
	// blocking: it waits in accept(2). On a socket that blocks, a server that
	// waits in epoll hangs whenever another worker took the connection: such a one
	// sets O_NONBLOCK itself, or its preset does.
	blocking bool
	// lossless is a server whose own way of stopping loses nothing; of another,
	// fugue must lose no more than a bare signal does.
	lossless bool

	needs []string          // files, besides its program
	files map[string]string // see release
	fixed bool              // it wants the address in a file, before there is a socket
	// front makes what speaks another protocol answer HTTP, at the address returned.
	front func(t *testing.T, address string) string

	// With no fugue: what the preset does.
	signal            syscall.Signal
	bareArgs, bareEnv []string
}

// deferSeconds is how long one that sends nothing is kept from the server.
const deferSeconds = 10

// release is a release of two workers of the server.
func (s server) release(version int) release {
	r := release{command: s.command, version: fmt.Sprintf("v%d", version), workers: 2, top: s.top, stop: s.stop, files: s.files}
	if s.preset != "" {
		r.top += fmt.Sprintf("\npreset = %q", s.preset)
	}
	if s.deferred {
		r.listen = fmt.Sprintf("defer_accept = %d", deferSeconds)
	}
	return r
}

var (
	node = server{name: "node", preset: "node", takes: "`listen({fd: 3})`", command: []string{"/usr/bin/node", "app.js", "{fd}"}, rate: 40, lossless: true}
	// One worker of its own, so that each of the pool's is one that answers.
	gunicorn = server{name: "gunicorn", preset: "gunicorn", takes: "LISTEN_FDS", rate: 40, lossless: true,
		command: []string{"/usr/bin/gunicorn", "--workers", "1", "--log-level", "warning", "wsgi:app"}}
	uvicorn = server{name: "uvicorn", preset: "uvicorn", takes: "`--fd {fd}`", rate: 40, deferred: true, bareArgs: []string{"--fd", "3"},
		command: []string{"/usr/bin/uvicorn", "--no-access-log", "--log-level", "warning", "asgi:app"}}
	puma = server{name: "puma", preset: "puma", takes: "LISTEN_FDS", rate: 40, deferred: true, lossless: true,
		bareArgs: []string{"--bind-to-activated-sockets", "only"},
		command:  []string{"/usr/bin/puma", "--quiet", "--environment", "production", "--threads", "2:2", "config.ru"}}
	loop = server{name: "Python, a blocking loop", blocking: true, takes: "`socket.socket(fileno=3)`", command: []string{"/usr/bin/python3", "loop.py", "{fd}"}, rate: 40, lossless: true}
)

// golang is a Go server that drains right, as package worker makes it.
func golang(t *testing.T) server {
	return server{name: "Go, package `worker`", takes: "LISTEN_FDS", rate: 40, kept: 4, lossless: true,
		command: []string{e2e.Testworker(t), "-version", "{version}"}}
}

// all is every server of which this Debian has a package, or npm.
func all(t *testing.T) []server {
	return []server{
		gunicorn, uvicorn,
		{
			name: "hypercorn", preset: "hypercorn", takes: "`--bind fd://{fd}`", rate: 40, deferred: true,
			bareArgs: []string{"--bind", "fd://3"}, command: []string{"/usr/bin/hypercorn", "asgi:app"},
		},
		{
			name: "uWSGI", preset: "uwsgi", takes: "`--http-socket fd://{fd}`", rate: 40, lossless: true, bareEnv: []string{},
			command: []string{"/usr/bin/uwsgi", "--plugin", "python3", "--disable-logging", "--need-app", "--wsgi-file", "wsgi.py", "--callable", "app"},
		},
		puma,
		{
			name: "unicorn", preset: "unicorn", takes: "LISTEN_FDS", rate: 40, lossless: true, signal: syscall.SIGQUIT,
			command: []string{"/usr/bin/unicorn", "--env", "production", "config.ru"},
		},
		{
			name: "Starman", blocking: true, preset: "starman", takes: "SERVER_STARTER_PORT", rate: 40, signal: syscall.SIGQUIT,
			bareEnv: []string{"SERVER_STARTER_PORT={addr}=3", "SERVER_STARTER_GENERATION=1"},
			needs:   []string{"/usr/share/perl5/Net/Server/SS/PreFork.pm"},
			command: []string{"/usr/bin/starman", "--workers", "2", "app.psgi"},
		},
		{
			name: "Starlet", blocking: true, preset: "starlet", takes: "SERVER_STARTER_PORT", rate: 40, lossless: true,
			bareArgs: []string{"-s", "Starlet"}, bareEnv: []string{"SERVER_STARTER_PORT={addr}=3", "SERVER_STARTER_GENERATION=1"},
			needs:   []string{"/usr/share/perl5/Plack/Handler/Starlet.pm"},
			command: []string{"/usr/bin/plackup", "--max-workers", "2", "--env", "deployment", "app.psgi"},
		},
		node,
		{name: "node, cluster", preset: "node", takes: "`listen({fd: 3})`", rate: 40, lossless: true, command: []string{"/usr/bin/node", "cluster.js", "{fd}"}},
		{
			name: "node, express", preset: "node", takes: "`listen({fd: 3})`", rate: 40, lossless: true, command: []string{"/usr/bin/node", "express.js", "{fd}"},
			needs: []string{"/usr/share/nodejs/express"},
		},
		{
			name: "node, fastify", preset: "node", takes: "`listen({fd: 3})`", rate: 40, lossless: true, command: []string{"/usr/bin/node", "fastify.js", "{fd}"},
			needs: []string{filepath.Join(nodeModules(), "fastify")},
		},
		{
			name: "php-fpm", blocking: true, preset: "php-fpm", takes: "FPM_SOCKETS", rate: 40, lossless: true, signal: syscall.SIGQUIT, front: fastCGI,
			bareArgs: []string{"--nodaemonize"}, bareEnv: []string{"FPM_SOCKETS={addr}=3"},
			command: []string{phpFPM(), "--allow-to-run-as-root", "--fpm-config", "php-fpm.conf"},
		},
		{
			name: "nginx", preset: "nginx", takes: "NGINX", rate: 40, signal: syscall.SIGQUIT, lossless: true, fixed: true, deferred: true,
			bareArgs: []string{"-g", "daemon off;"}, bareEnv: []string{"NGINX=3;"},
			files:   map[string]string{"nginx-{version}.conf": "nginx.conf", "slow50": "slow50", "slow2000": "slow2000"},
			command: []string{"/usr/sbin/nginx", "-c", "{dir}/nginx-{version}.conf"},
		},
		{
			name: "HAProxy", takes: "`bind fd@{fd}`", rate: 40, signal: syscall.SIGUSR1, lossless: true, stop: `signal = "USR1"`,
			command: []string{"/usr/sbin/haproxy", "-db", "-f", "haproxy.cfg"},
		},
		{
			name: "lighttpd", takes: "LISTEN_FDS", rate: 40, signal: syscall.SIGINT, stop: `signal = "INT"`, deferred: true,
			command: []string{"/usr/sbin/lighttpd", "-D", "-f", "lighttpd.conf"},
		},
		loop, java(t), golang(t),
	}
}

// java is compiled here: what Debian has for that without a whole JDK is ecj.
func java(t *testing.T) server {
	t.Helper()
	classes := t.TempDir()
	s := server{
		name: "Java, `inheritedChannel`", preset: "java", blocking: true, takes: "standard input", rate: 40, lossless: true, needs: []string{"/usr/bin/ecj"},
		// A machine with other things to do is no place for its optimisers.
		command: []string{"/usr/bin/java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx64m", "-cp", classes, "Channel"},
	}
	if _, err := os.Stat(s.needs[0]); err == nil {
		if text, err := exec.Command(s.needs[0], "-17", "-proc:none", "-d", classes, "testdata/Channel.java").CombinedOutput(); err != nil {
			t.Fatalf("ecj: %v\n%s", err, text)
		}
	}
	return s
}

func phpFPM() string {
	found, _ := filepath.Glob("/usr/sbin/php-fpm[0-9]*")
	return strings.Join(append(found, "/usr/sbin/php-fpm")[:1], "")
}

// setup is how the file says it, for the table.
func (s server) setup() string {
	if s.preset != "" {
		return fmt.Sprintf("`preset = %q`", s.preset)
	}
	if s.stop != "" {
		return "`[stop] " + s.stop + "`"
	}
	return "–"
}

// TestServers runs each server that is not fugue's behind it: it is answered by
// every worker, reloaded under load, and stopped with a request under way. What
// it finds is the table in docs/SERVERS.md.
func TestServers(t *testing.T) {
	rows := make([]string, 0, 32)
	servers := all(t)
	found := make([]string, len(servers))
	t.Run("each", func(t *testing.T) {
		for i, s := range servers {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				need(t, s)
				compare(t, s)
				if !t.Failed() {
					lost := "none"
					if !s.lossless {
						lost = "no more than by the signal alone"
					}
					found[i] = fmt.Sprintf("| %s | %s | %s | yes | %s | finished |\n", s.name, s.setup(), s.takes, lost)
				}
			})
		}
	})
	for _, row := range found {
		if row == "" {
			return // not all were to run, or could
		}
		rows = append(rows, row)
	}
	checkTable(t, strings.Join(rows, ""))
}

const (
	tableBegins = "<!-- made by e2e/servers: go test ./e2e/servers -run TestServers -update -->\n"
	tableEnds   = "<!-- end -->\n"
	tableHead   = "| server | the pool's file | takes the socket by | every worker answers | lost by reloads under load | a request of 2 s at a stop |\n|---|---|---|---|---|---|\n"
)

func checkTable(t *testing.T, rows string) {
	t.Helper()
	const file = "../../docs/SERVERS.md"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), tableBegins)
	table, after, ended := strings.Cut(rest, tableEnds)
	if !ok || !ended {
		t.Fatalf("%s has no place for the table: %q … %q", file, tableBegins, tableEnds)
	}
	want := tableHead + rows
	if table == want {
		return
	}
	if !*update {
		t.Fatalf("the table in %s is not what was found; -update writes it:\n%s", file, want)
	}
	if err := os.WriteFile(file, []byte(before+tableBegins+want+tableEnds+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
