package examples_test

import (
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fugue/e2e"
)

// Each app is started under fugue, answers, is reloaded, answers from its next
// generation, and stops.
func TestApps(t *testing.T) {
	web := []string{"--listen", "http=127.0.0.1:0"}
	for _, app := range []struct {
		dir   string
		needs string
		build []string // before it
		flags []string
		ask   func(p *pool) string
	}{
		{dir: "go/http", build: []string{"go", "build", "-o", "{dir}/server", "fugue/examples/go/http"}, flags: web, ask: (*pool).get},
		{dir: "go/activation", build: []string{"go", "build", "-o", "{dir}/server", "fugue/examples/go/activation"}, flags: web, ask: (*pool).get},
		{dir: "python/wsgi", needs: "gunicorn", flags: web, ask: (*pool).get},
		{dir: "python/asgi", needs: "uvicorn", flags: web, ask: (*pool).get},
		{dir: "python/asyncio", needs: "python3", flags: web, ask: (*pool).get},
		{dir: "ruby", needs: "puma", flags: web, ask: (*pool).get},
		{dir: "perl", needs: "starman", flags: web, ask: (*pool).get},
		{dir: "php", needs: "php-fpm8.2", flags: []string{"--listen", "php=127.0.0.1:0"}, ask: (*pool).fastCGI},
		{dir: "c", needs: "cc", build: []string{"cc", "-Wall", "-Wextra", "-Werror", "-o", "{dir}/server", "{dir}/server.c", "-lsystemd"}, flags: web, ask: (*pool).get},
		{dir: "shell", needs: "systemd-notify", ask: func(p *pool) string { return p.await("hello from worker") }},
	} {
		t.Run(app.dir, func(t *testing.T) {
			t.Parallel()
			if app.needs != "" {
				e2e.NeedProgram(t, app.needs)
			}
			p := &pool{t: t, dir: tempDir(t), name: "web"}
			dir := p.copy(app.dir)
			if app.build != nil {
				build(t, strings.Fields(strings.ReplaceAll(strings.Join(app.build, " "), "{dir}", dir))...)
			}
			p.runConfig(filepath.Join(dir, "fugue.toml"), app.flags...)
			p.answers(app.ask, "generation 1")
			p.reload()
			p.answers(app.ask, "generation 2")
		})
	}
}

func TestNodeApps(t *testing.T) {
	for _, app := range []string{"http-app", "express-app"} {
		t.Run(app, func(t *testing.T) {
			t.Parallel()
			p := startNode(t, app)
			p.answers((*pool).get, "generation 1")
			p.reload()
			p.answers((*pool).get, "generation 2")
		})
	}
}

// answers asks until the pool answers from that generation: old workers may
// answer yet while they drain.
func (p *pool) answers(ask func(*pool) string, generation string) {
	p.t.Helper()
	for deadline := time.Now().Add(guard); ; {
		text := ask(p)
		if strings.Contains(text, "hello from worker ") && strings.Contains(text, generation) {
			return
		}
		if !strings.Contains(text, "hello from worker ") || time.Now().After(deadline) {
			p.t.Fatalf("answer %q, want %s", text, generation)
		}
	}
}

// get asks on a connection of its own.
func (p *pool) get() string {
	p.t.Helper()
	client := http.Client{Timeout: guard, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get("http://" + p.status().Listeners[0].Address + "/")
	if err != nil {
		p.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		p.t.Fatalf("%s, %v", answer.Status, err)
	}
	return string(text)
}

// fastCGI asks for index.php as a web server does: the FastCGI specification,
// sections 3.3 to 3.4.
func (p *pool) fastCGI() string {
	p.t.Helper()
	const begin, params, stdin, stdout = 1, 4, 5, 6
	record := func(kind byte, content string) string {
		n := len(content)
		return string([]byte{1, kind, 0, 1, byte(n >> 8), byte(n), 0, 0}) + content
	}
	pair := func(name, value string) string {
		return string([]byte{byte(len(name)), byte(len(value))}) + name + value
	}
	c := p.dial()
	defer c.Close()
	if _, err := io.WriteString(c, record(begin, "\x00\x01\x00\x00\x00\x00\x00\x00")+ // responder
		record(params, pair("REQUEST_METHOD", "GET")+pair("SCRIPT_FILENAME", filepath.Join(p.dir, "app", "index.php")))+
		record(params, "")+record(stdin, "")); err != nil {
		p.t.Fatal(err)
	}
	var text strings.Builder
	for {
		head := make([]byte, 8)
		if _, err := io.ReadFull(c, head); err != nil {
			if err == io.EOF {
				return text.String()
			}
			p.t.Fatal(err)
		}
		content := make([]byte, int(head[4])<<8+int(head[5])+int(head[6]))
		if _, err := io.ReadFull(c, content); err != nil {
			p.t.Fatal(err)
		}
		if head[1] == stdout {
			text.Write(content[:len(content)-int(head[6])])
		}
	}
}
